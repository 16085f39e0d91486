"""The Data Rights Protocol, from the examples that its specification publishes."""

from __future__ import annotations

import base64
import json

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient

from expunge.intake.protocols.callbacks import call_back, http_client
from expunge.intake.protocols.office import Office
from expunge.intake.protocols.signing import Seal
from senders import (
    Post,
    agent_token,
    bearer,
    drp_message,
    nowhere_in,
    signed,
)


def test_an_agent_exercises_asks_and_revokes(client: TestClient, office: Office, post: Post, seal: Seal) -> None:
    token = agent_token(client)
    assert client.get("/v1/agent/AA_ID", headers=token).json() == {}
    assert client.get("/v1/agent/OTHER", headers=token).status_code == 403
    body = signed(drp_message(status_callback=f"{post.origin}/update_status"))
    answer = client.post("/v1/data-rights-request", content=body, headers=token | {"Content-Type": "text/plain"})
    assert answer.status_code == 200, answer.text
    told = answer.json()
    assert set(told) == {"request_id", "status", "received_at", "expected_by", "agent_request_id"}
    assert (told["status"], told["agent_request_id"]) == ("in_progress", "foo")
    where = f"/v1/data-rights-request/{told['request_id']}"
    assert client.get(where, headers=token).json() == told
    assert client.get(where, headers=agent_token(client, "OTHER")).status_code == 403
    for _ in range(2):
        revoked = client.request("DELETE", where, content=signed({"reason": "I, Jane, changed my mind"}), headers=token)
        assert revoked.json()["status"] == "revoked"
    with http_client() as caller:
        assert call_back(office, seal, caller) == 1
    assert json.loads(post.told[0][1]) == told | {"status": "revoked"}
    assert office.desk.ledger.get("req-0001").state == "withdrawn"
    nowhere_in(office.paths.root, "johndoe@example.com", "john doe", "changed my mind")


@pytest.mark.parametrize(
    ("message", "status"),
    [
        (drp_message(**{"agent-id": "OTHER"}), 403),
        (drp_message(**{"business-id": "ANOTHER"}), 403),
        (drp_message(**{"issued-at": "2026-11-21T12:01:00Z"}), 403),
        (drp_message(**{"expires-at": "2026-11-21T12:00:00Z"}), 403),
        (drp_message(**{"expires-at": "2026-12-21T12:00:00Z"}), 403),
        (drp_message(**{"expires-at": "soon"}), 400),
        (drp_message(**{"drp.version": "0.9"}), 400),
        (drp_message(exercise="access"), 400),
        (drp_message(regime="gdpr"), 400),
        (drp_message(email_verified=False), 400),
        (drp_message(status_callback="https://elsewhere.example/x"), 400),
        (drp_message(**{"agent-request-id": "John Doe"}), 400),
        ([], 400),
    ],
)
def test_a_drp_message_at_fault_is_refused(client: TestClient, office: Office, message: object, status: int) -> None:
    answer = client.post("/v1/data-rights-request", content=signed(message), headers=agent_token(client))
    assert (answer.status_code, answer.json()["code"]) == (status, str(status))
    assert office.desk.ledger.records() == []


def test_forged_and_repeated_drp_messages_are_refused(client: TestClient, office: Office) -> None:
    token = agent_token(client)
    stranger = signed(drp_message(), Ed25519PrivateKey.generate())
    body = signed(drp_message())
    changed = base64.b64encode(base64.b64decode(body).replace(b"johndoe", b"janedoe"))
    for forged in (stranger, changed, b"", b"not base64!", base64.b64encode(b"short")):
        answer = client.post("/v1/data-rights-request", content=forged, headers=token)
        assert answer.status_code in (400, 403)
    for headers in ({}, bearer("AA_ID:00:00"), bearer("NOBODY:00:00"), {b"Authorization": b"Bearer \xff:\xfe:\xfd"}):
        assert client.post("/v1/data-rights-request", content=body, headers=headers).status_code == 401
    assert client.post("/v1/data-rights-request", content=body, headers=token).status_code == 200
    again = [body, signed(drp_message(name="somebody else"))]  # the second is the same `agent-request-id`
    for repeated in again:
        assert client.post("/v1/data-rights-request", content=repeated, headers=token).status_code == 409
    assert len(office.desk.ledger.records()) == 1


def test_a_message_buys_one_token_and_a_forged_one_none(client: TestClient) -> None:
    message = signed(
        {name: drp_message()[name] for name in ("agent-id", "business-id", "issued-at", "expires-at")}
        | {"drp.version": "1.0"}
    )
    assert client.post("/v1/agent/AA_ID", content=message).status_code == 200
    for agent, body in (("AA_ID", message), ("OTHER", message), ("NOBODY", message), ("AA_ID", b"")):
        answer = client.post(f"/v1/agent/{agent}", content=body)
        assert (answer.status_code, answer.content) == (403, b"")


def test_a_person_whom_nobody_knows_is_denied_as_no_match(client: TestClient) -> None:
    body = signed(drp_message(email="stranger@example.com"))
    told = client.post("/v1/data-rights-request", content=body, headers=agent_token(client)).json()
    assert (told["status"], told["reason"]) == ("denied", "no_match")
