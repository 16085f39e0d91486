"""OpenDSR, from the examples that its specification publishes."""

from __future__ import annotations

import base64
import hashlib
import json
import shutil
from datetime import timedelta
from typing import Any

import pytest
from fastapi.testclient import TestClient

from expunge.intake.protocols.callbacks import call_back, http_client
from expunge.intake.protocols.office import NO_MATCH, Office
from expunge.intake.protocols.signing import Seal
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE
from expunge.selection.forget import forget_rows
from expunge.selection.match import matches
from samples import make_catalog
from senders import (
    ADDRESS,
    NOW,
    OPENDSR_EXAMPLE,
    TOKEN,
    Post,
    bearer,
    check_signature,
    nowhere_in,
)


def test_discovery_says_what_the_specification_asks_for(client: TestClient) -> None:
    found = client.get("/v2/discovery").json()
    assert found["api_version"] == "2.0"
    assert {"identity_type": "email", "identity_format": "sha256"} in found["supported_identities"]
    assert found["supported_subject_request_types"] == ["erasure"]
    assert found["processor_certificate"] == f"{ADDRESS}/cert.pem"


def test_the_published_opendsr_example_becomes_a_ledger_entry_with_a_signed_receipt(
    client: TestClient, office: Office
) -> None:
    sent = json.dumps(OPENDSR_EXAMPLE).encode()
    answer = client.post("/v2/requests", content=sent, headers=bearer())
    assert answer.status_code == 201, answer.text
    receipt = answer.json()
    assert set(receipt) == {
        "controller_id",
        "expected_completion_time",
        "received_time",
        "encoded_request",
        "subject_request_id",
        "api_version",
    }
    assert base64.b64decode(receipt["encoded_request"]) == sent
    assert answer.headers["X-OpenDSR-Processor-Domain"] == "example-processor.com"
    check_signature(client.get("/cert.pem").content, answer.content, answer.headers["X-OpenDSR-Signature"])
    [record] = office.desk.ledger.records()
    assert (record.state, record.request.basis, record.events[0].by) == ("received", "gdpr-art17", "acme (opendsr)")
    caught = matches(office.desk.catalog, record.request.selectors, subject_digest=office.desk.subject_digest)
    assert sorted(caught) == [f"sample:{number:04d}" for number in range(0, 24, 3)]
    nowhere_in(office.paths.root, "johndoe@example.com", "s-1")


def test_the_status_moves_with_the_ledger_and_every_move_is_called_back(
    client: TestClient, office: Office, seal: Seal, post: Post
) -> None:
    url = f"{post.origin}/opendsr/callbacks"
    sent = OPENDSR_EXAMPLE | {"status_callback_urls": [url], "regulation": "ccpa"}
    number = sent["subject_request_id"]
    assert client.post("/v2/requests", json=sent, headers=bearer()).status_code == 201

    def status() -> str:
        answer = client.get(f"/v2/requests/{number}", headers=bearer())
        check_signature(seal.certificate, answer.content, answer.headers["X-OpenDSR-Signature"])
        assert answer.json() | {"request_status": "", "expected_completion_time": ""} == {
            "controller_id": "acme",
            "expected_completion_time": "",
            "subject_request_id": number,
            "request_status": "",
            "api_version": "2.0",
        }
        return answer.json()["request_status"]

    with http_client() as caller:
        assert (status(), call_back(office, seal, caller)) == ("pending", 0)
        office.desk.ledger.approve("req-0001", "Ada")
        post.status = 500
        assert (status(), call_back(office, seal, caller)) == ("in_progress", 0)
        assert call_back(office, seal, caller) == 0
        assert len(post.told) == 1  # a sender that is down is not called at once again
        post.status, office.now = 200, lambda: NOW + timedelta(minutes=1)
        assert call_back(office, seal, caller) == 1
        office.desk.ledger.mark_released(["req-0001"], "r001", "ab" * 32)
        assert (status(), call_back(office, seal, caller), call_back(office, seal, caller)) == ("completed", 1, 0)
    told = [json.loads(body) for _, body in post.told]
    assert [one["request_status"] for one in told] == ["in_progress", "in_progress", "completed"]
    assert {one["status_callback_url"] for one in told} == {url}
    headers, body = post.told[-1]
    check_signature(seal.certificate, body, headers["X-OpenDSR-Signature"])


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"subject_request_type": "access"}, "only 'erasure'"),
        ({"regulation": "lgpd"}, "regulation"),
        ({"subject_request_id": "1"}, "UUID of version 4"),
        ({"subject_request_id": "A7551968-D5D6-44B2-9831-815AC9017798"}, "lower case"),
        ({"submitted_time": "yesterday"}, "RFC 3339"),
        ({"submitted_time": "2026-11-21T13:00:00Z"}, "in the future"),
        ({"subject_identities": []}, "subject_identities"),
        ({"subject_identities": ["johndoe"]}, "must be an object"),
        ({"subject_identities": [{"identity_type": "email", "identity_value": 1, "identity_format": "raw"}]}, "500"),
        ({"subject_identities": [{"identity_type": "imei", "identity_value": "1", "identity_format": "raw"}]}, "type"),
        ({"subject_identities": [{"identity_type": "email", "identity_value": "1", "identity_format": "md5"}]}, "form"),
        (
            {"subject_identities": [{"identity_type": "email", "identity_value": "1", "identity_format": "sha256"}]},
            "64 hexadecimal",
        ),
        ({"status_callback_urls": ["http://169.254.169.254/latest"]}, "callback URL"),
        ({"status_callback_urls": ["https://examplecontroller.com.evil.example/"]}, "callback URL"),
    ],
)
def test_an_opendsr_request_at_fault_is_refused_without_repeating_it(
    client: TestClient, office: Office, change: dict, reason: str
) -> None:
    answer = client.post("/v2/requests", json=OPENDSR_EXAMPLE | change, headers=bearer())
    assert (answer.status_code, answer.json()["error"]["code"]) == (400, 400)
    assert reason in answer.json()["error"]["message"]
    assert "johndoe" not in answer.text
    assert office.desk.ledger.records() == []


@pytest.mark.parametrize("body", [b"", b"[]", b"\xff", b'{"a": 1, "a": 2}', b"[" * 60_000])
def test_what_is_not_one_plain_object_is_refused(client: TestClient, body: bytes) -> None:
    assert client.post("/v2/requests", content=body, headers=bearer()).status_code == 400


def test_forged_and_repeated_opendsr_requests_are_refused(client: TestClient, office: Office) -> None:
    for headers in ({}, bearer("wrong"), {"Authorization": f"Basic {TOKEN}"}):
        assert client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=headers).status_code == 401
    assert client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer()).status_code == 201
    again = client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer())
    assert (again.status_code, "received before" in again.text) == (400, True)
    number = OPENDSR_EXAMPLE["subject_request_id"]
    assert client.get(f"/v2/requests/{number}", headers=bearer("rival")).status_code == 403
    assert client.delete(f"/v2/requests/{number}", headers=bearer("rival")).status_code == 403
    assert len(office.desk.ledger.records()) == 1


def test_a_request_that_was_recorded_but_not_acknowledged_is_completed_by_the_next_attempt(
    client: TestClient, office: Office, monkeypatch: pytest.MonkeyPatch
) -> None:
    def dies(*_: object, **__: object) -> None:
        raise ExpungeError("The disk is full.")

    with monkeypatch.context() as patch:
        patch.setattr(office.book, "add", dies)
        assert client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer()).status_code == 503
    assert client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer()).status_code == 201
    assert len(office.desk.ledger.records()) == 1


def test_a_pending_request_is_cancelled_and_a_decided_one_is_not(client: TestClient, office: Office) -> None:
    number = OPENDSR_EXAMPLE["subject_request_id"]
    client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer())
    answer = client.delete(f"/v2/requests/{number}", headers=bearer())
    assert answer.status_code == 202
    assert set(answer.json()) == {"controller_id", "received_time", "subject_request_id", "api_version"}
    assert office.desk.ledger.get("req-0001").state == "withdrawn"
    other = OPENDSR_EXAMPLE | {"subject_request_id": "b7551968-d5d6-44b2-9831-815ac9017798"}
    client.post("/v2/requests", json=other, headers=bearer())
    office.desk.ledger.approve("req-0002", "Ada")
    assert client.delete(f"/v2/requests/{other['subject_request_id']}", headers=bearer()).status_code == 400
    assert office.desk.ledger.get("req-0002").state == "approved"


def test_version_one_is_spoken_under_its_old_names(client: TestClient, seal: Seal) -> None:
    sent = OPENDSR_EXAMPLE | {"api_version": "1.0"}
    answer = client.post("/v1/opengdpr_requests", json=sent, headers=bearer())
    assert answer.status_code == 201
    check_signature(seal.certificate, answer.content, answer.headers["X-OpenGDPR-Signature"])
    assert client.get("/v1/discovery").json()["api_version"] == "1.0"


def identity(kind: str, value: str, format: str = "raw") -> dict[str, Any]:
    one = {"identity_type": kind, "identity_value": value, "identity_format": format}
    return OPENDSR_EXAMPLE | {"subject_identities": [one]}


def test_a_release_forgets_the_samples_of_the_subject_also_those_that_came_in_after_the_request(
    client: TestClient, office: Office
) -> None:
    client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer())
    office.desk.ledger.approve("req-0001", "Ada")
    shutil.rmtree(office.paths.catalog)
    make_catalog(office.paths.catalog, 30, subjects=("s-1", "s-2", None))
    _, rows = forget_rows(office.paths, office.desk.ledger.approved_unserved(), "r001", BASE)
    assert sorted(row.sample_id for row in rows) == [f"sample:{number:04d}" for number in range(0, 30, 3)]
    assert "s-1" not in json.dumps([row.reason for row in rows])


@pytest.mark.parametrize(
    ("sent", "samples"),
    [
        (identity("controller_customer_id", "s-2"), 8),
        (identity("controller_customer_id", hashlib.sha256(b"s-2").hexdigest(), "sha256"), 8),
        (identity("email", " JOHNDOE@example.com "), 8),
        (identity("email", hashlib.sha256(b"johndoe@example.com").hexdigest().upper(), "sha256"), 8),
        (identity("email", "s-1"), 0),
        (identity("controller_customer_id", "S-2"), 0),
    ],
)
def test_an_identity_leads_to_the_subject_whom_it_names_and_to_nobody_else(
    client: TestClient, office: Office, sent: dict, samples: int
) -> None:
    assert client.post("/v2/requests", json=sent, headers=bearer()).status_code == 201
    [record] = office.desk.ledger.records()
    if samples:
        digest = office.desk.subject_digest
        assert len(matches(office.desk.catalog, record.request.selectors, subject_digest=digest)) == samples
        return
    assert (record.state, record.events[-1].payload["reason"]) == ("rejected", NO_MATCH)
    told = client.get(f"/v2/requests/{sent['subject_request_id']}", headers=bearer()).json()
    assert (told["request_status"], told["results_count"]) == ("completed", 0)
