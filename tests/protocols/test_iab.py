"""IAB Tech Lab's Data Deletion Request Framework, from the examples that it publishes."""

from __future__ import annotations

import json
from datetime import timedelta

import pytest
from fastapi.testclient import TestClient
from joserfc.jwk import OctKey

from expunge.intake.protocols.office import Office
from expunge.selection.match import matches
from senders import (
    ADDRESS,
    NOW,
    PUBLISHER_KEY,
    VENDOR,
    id_token,
    nowhere_in,
    publisher,
    receipt,
    request_token,
)


def test_the_resource_says_what_the_framework_asks_for(client: TestClient) -> None:
    found = client.get("/dsrdelete.json").json()
    assert found["endpoint"] == f"{ADDRESS}/iab/delete"
    assert {"id": 4, "type": "email", "format": "sha256"} in found["identifiers"]
    assert found["vendorScriptRequirement"] is False


@pytest.mark.parametrize("wrap", [lambda token: token, lambda token: json.dumps({"rqJWT": token})])
def test_a_request_token_becomes_a_ledger_entry_with_a_signed_receipt(client: TestClient, office: Office, wrap) -> None:
    token = request_token()
    answer = client.post("/iab/delete", content=wrap(token))
    assert answer.status_code == 202, answer.text
    claims = receipt(client, answer)
    assert (claims["raResultCode"], claims["rqJWT"], claims["iss"]) == (0, token, "example-processor.com")
    [record] = office.desk.ledger.records()
    assert (record.state, record.events[0].by) == ("received", "vendor1.com (iab)")
    digest = office.desk.subject_digest
    assert len(matches(office.desk.catalog, record.request.selectors, subject_digest=digest)) == 8
    nowhere_in(office.paths.root, "johndoe@example.com", "unique_jwt_identifier")
    again = client.post("/iab/delete", content=token)
    assert (again.status_code, receipt(client, again)["raResultCode"]) == (400, 3)
    assert len(office.desk.ledger.records()) == 1


EARLIER = int((NOW - timedelta(hours=25)).timestamp())


@pytest.mark.parametrize(
    ("token", "code"),
    [
        (lambda: "", 1),
        (lambda: '{"token": 1}', 1),
        (lambda: "a.b.c", 3),
        (lambda: request_token(sub=None), 1),
        (lambda: request_token(version="2.0"), 1),
        (lambda: request_token(publisher()), 2),
        (lambda: request_token(iss="nobody.example"), 2),
        (lambda: request_token(idJWT=id_token(VENDOR)), 2),
        (lambda: request_token(OctKey.import_key(json.dumps(PUBLISHER_KEY)), "HS256"), 3),
        (lambda: request_token()[:-8], 2),
        (lambda: request_token(iat=EARLIER), 6),
        (lambda: request_token(iat=int(NOW.timestamp()) + 3600), 6),
        (lambda: request_token(iat="now"), 6),
        (lambda: request_token(idJWT=id_token(iat=1693459424)), 6),  # the time stamp of the published example
        (lambda: request_token(sub={"identifierType": "phone"}), 4),
        (lambda: request_token(sub={"identifierType": "email", "identifierFormat": "hash"}), 5),
        (
            lambda: request_token(
                sub={
                    "identifierType": "email",
                    "identifierFormat": "sha256",
                    "identifierValue": "28f6dc889e...fe167",  # shortened, as the framework prints it
                }
            ),
            5,
        ),
    ],
)
def test_a_token_at_fault_gets_a_receipt_with_its_code(client: TestClient, office: Office, token, code: int) -> None:
    answer = client.post("/iab/delete", content=token())
    assert (answer.status_code, receipt(client, answer)["raResultCode"]) == (400, code)
    assert office.desk.ledger.records() == []
