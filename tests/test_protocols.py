"""Privacy teams' own protocols, from the examples that their specifications publish."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey, OctKey, import_key
from typer.testing import CliRunner

from expunge.cli import app as command
from expunge.intake.protocols.callbacks import call_back, http_client
from expunge.intake.protocols.identities import learn
from expunge.intake.protocols.office import NO_MATCH, Office
from expunge.intake.protocols.service import MAX_BODY, create_app
from expunge.intake.protocols.signing import Seal, open_seal
from expunge.intake.settings import ServeParams
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.selection.forget import forget_rows
from expunge.selection.match import matches
from expunge.settings import load_params
from project import tiny_params, write_params
from samples import make_catalog

ADDRESS = "https://example-processor.com"
TOKEN = "3b1f6a5c0d8e4f72"
NOW = datetime(2026, 11, 21, 12, tzinfo=UTC)
AGENT_KEY = Ed25519PrivateKey.from_private_bytes(bytes(range(32)))

# OpenDSR 2.0, § 7.2, as it is printed there: without the `regulation` that § 7.1.1 asks for.
OPENDSR_EXAMPLE: dict[str, Any] = {
    "subject_request_id": "a7551968-d5d6-44b2-9831-815ac9017798",
    "subject_request_type": "erasure",
    "submitted_time": "2018-10-02T15:00:00Z",
    "subject_identities": [
        {"identity_type": "email", "identity_value": "johndoe@example.com", "identity_format": "raw"}
    ],
    "api_version": "2.0",
    "status_callback_urls": ["https://examplecontroller.com/opendsr/callbacks"],
    "extensions": {
        "example-processor.com": {"foo-processor-custom-id": 123456, "property_id": "123456"},
        "example-other-processor.com": {"foo-other-processor-custom-id": 654321},
    },
}
# The key pair of RFC 7515, appendix A.3, whose public half is in the framework's example of a dsrdelete.json.
PUBLISHER_KEY = {
    "kty": "EC",
    "crv": "P-256",
    "x": "f83OJ3D2xF1Bg8vub9tLe1gHMzV76e8Tus9uPHvRVEU",
    "y": "x_FEzRu9m36HLN_tue659LNpXW6pCyStikYjKIWI5a0",
    "kid": "Public key used in JWS spec Appendix A.3 example",
}
PUBLISHER_SECRET = {"d": "jpsQnnGQmL-YBIffH1136cspYG6-0iY7X1fCE9-E9LI"}
VENDOR = ECKey.generate_key("P-256", {"kid": "vendor"})


class Post:
    """A callback endpoint on loopback that keeps what it is told; `status` is its answer."""

    def __init__(self) -> None:
        self.told: list[tuple[dict[str, str], bytes]] = []
        self.status = 200
        kept = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                kept.told.append((dict(self.headers.items()), body))
                self.send_response(kept.status)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.origin = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()


@pytest.fixture
def post() -> Iterator[Post]:
    made = Post()
    yield made
    made.server.shutdown()
    made.server.server_close()


def serve_params(*callbacks: str) -> dict[str, Any]:
    origins = ["https://examplecontroller.com", *callbacks]
    key = base64.b64encode(AGENT_KEY.public_key().public_bytes_raw()).decode()
    return {
        "controllers": {
            "acme": {"token_sha256": hashlib.sha256(TOKEN.encode()).hexdigest(), "callbacks": origins},
            "rival": {"token_sha256": hashlib.sha256(b"rival").hexdigest()},
        },
        "agents": {
            "AA_ID": {"verify_key": key, "callbacks": ["https://dsr-agent.example.com", *callbacks]},
            "OTHER": {"verify_key": key},
        },
        "participants": {
            "publisher1.com": {"keys": [PUBLISHER_KEY]},
            "vendor1.com": {"keys": [VENDOR.as_dict(private=False)]},
        },
        "business_id": "CB_ID",
        "identities": {"email": ["raw", "sha256"], "controller_customer_id": ["raw", "sha256"]},
    }


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A project of 24 samples: a third of them are s-1's, a third s-2's; s-1 is known as John Doe."""
    write_params(tmp_path, tiny_params(ledger={"seed": None}))
    make_catalog(tmp_path / "data" / "catalog", 24, subjects=("s-1", "s-2", None))
    known = tmp_path.parent / f"{tmp_path.name}.csv"
    known.write_text("subject_id,identity_type,identity_value\ns-1,email,JohnDoe@example.com\n")
    assert learn(Paths(tmp_path), known) == 1
    known.unlink()
    return Paths(tmp_path)


@pytest.fixture
def office(paths: Paths, post: Post) -> Office:
    return Office(paths, ServeParams.model_validate(serve_params(post.origin)), lambda: NOW)


@pytest.fixture(scope="module")
def seal(tmp_path_factory: pytest.TempPathFactory) -> Seal:
    return open_seal(Paths(tmp_path_factory.mktemp("seal")), ServeParams(), "example-processor.com")


@pytest.fixture
def client(office: Office, seal: Seal) -> TestClient:
    return TestClient(create_app(office, seal, ADDRESS))


def bearer(token: str = TOKEN) -> dict[str, str]:
    return {"Authorization": f"Bearer {token}"}


def check_signature(certificate: bytes, body: bytes, signature: str) -> None:
    key = x509.load_pem_x509_certificate(certificate).public_key()
    key.verify(base64.b64decode(signature), body, padding.PKCS1v15(), hashes.SHA256())


def nowhere_in(root: Path, *secrets: str) -> None:
    for path in root.rglob("*"):
        content = path.read_bytes().lower() if path.is_file() and "catalog" not in path.parts else b""
        for secret in secrets:
            forms = (secret, hashlib.sha256(secret.encode()).hexdigest(), base64.b64encode(secret.encode()).decode())
            assert not [form for form in forms if form.lower().encode() in content], (path, secret)


# --- OpenDSR -----------------------------------------------------------------------------------------------------


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


# --- Data Rights Protocol ----------------------------------------------------------------------------------------


def drp_message(**changes: object) -> dict[str, object]:
    """The example of § 2.01, for a deletion."""
    return {
        "agent-id": "AA_ID",
        "business-id": "CB_ID",
        "issued-at": "2026-11-21T11:59:00Z",
        "expires-at": "2026-11-21T12:09:00Z",
        "agent-request-id": "foo",
        "drp.version": "1.0",
        "exercise": "deletion",
        "regime": "ccpa",
        "relationships": ["customer", "marketing"],
        "status_callback": "https://dsr-agent.example.com/update_status",
        "name": "John Doe",
        "email": "johndoe@example.com",
        "email_verified": True,
    } | changes


def signed(message: object, key: Ed25519PrivateKey = AGENT_KEY) -> bytes:
    body = json.dumps(message).encode()
    return base64.b64encode(key.sign(body) + body)


def agent_token(client: TestClient, agent: str = "AA_ID") -> dict[str, str]:
    names = ("agent-id", "business-id", "issued-at", "expires-at", "drp.version")
    message = {name: value for name, value in drp_message().items() if name in names} | {"agent-id": agent}
    answer = client.post(f"/v1/agent/{agent}", content=signed(message))
    assert answer.status_code == 200, answer.text
    assert answer.json()["agent-id"] == agent
    return bearer(answer.json()["token"])


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


# --- Data Deletion Request Framework -----------------------------------------------------------------------------


def publisher() -> ECKey:
    return ECKey.import_key(PUBLISHER_KEY | PUBLISHER_SECRET)


def id_token(key: ECKey | None = None, **changes: object) -> str:
    """The example of an idJWT, with a whole SHA-256 where the framework prints a shortened one."""
    claims = {
        "version": "1.0",
        "jti": "unique_jwt_identifier",
        "iss": "publisher1.com",
        "sub": {
            "identifierValue": hashlib.sha256(b"johndoe@example.com").hexdigest(),
            "identifierType": "email",
            "identifierFormat": "sha256",
        },
        "iat": int(NOW.timestamp()),
    }
    return jwt.encode({"typ": "JWT", "alg": "ES256", "kid": PUBLISHER_KEY["kid"]}, claims | changes, key or publisher())


def request_token(key: Any = VENDOR, alg: str = "ES256", **changes: object) -> str:
    claims = jwt.decode(id_token(), publisher(), algorithms=["ES256"]).claims
    claims |= {"idJWT": id_token(), "iss": "vendor1.com", "optionalParameters": {"a": 1}} | changes
    claims = {name: value for name, value in claims.items() if value is not None}
    return jwt.encode({"typ": "JWT", "alg": alg, "kid": "vendor"}, claims, key, algorithms=[alg])


def receipt(client: TestClient, answer: Any) -> dict[str, Any]:
    [key] = client.get("/dsrdelete.json").json()["publicKey"]
    assert "d" not in key
    claims = jwt.decode(answer.json()["acJWT"], import_key(key), algorithms=["RS256"]).claims
    assert {"version", "rqJWT", "jti", "iss", "iat", "raResultCode"} <= set(claims)
    return claims


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


# --- the service -------------------------------------------------------------------------------------------------


def test_large_bodies_and_too_many_requests_are_refused(client: TestClient, office: Office, seal: Seal) -> None:
    assert client.post("/v2/requests", content=b" " * (MAX_BODY + 1), headers=bearer()).status_code == 413
    few = ServeParams.model_validate(serve_params() | {"per_minute": 2})
    small = TestClient(create_app(Office(office.paths, few, lambda: NOW), seal, ADDRESS))
    answers = [small.post("/v2/requests", json={}, headers=bearer("guess")).status_code for _ in range(3)]
    assert answers == [401, 401, 429]
    assert small.post("/v1/agent/AA_ID", content=b"").status_code == 403


def test_a_subject_that_is_forgotten_already_is_told_so(client: TestClient, office: Office) -> None:
    office.desk.__dict__["forgotten"] = {f"sample:{number:04d}" for number in range(0, 24, 3)}
    client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer())
    number = OPENDSR_EXAMPLE["subject_request_id"]
    assert client.get(f"/v2/requests/{number}", headers=bearer()).json()["request_status"] == "completed"
    assert office.desk.ledger.get("req-0001").state == "rejected"


def test_a_public_origin_needs_a_certificate_of_its_own(paths: Paths) -> None:
    with pytest.raises(ExpungeError, match="certificate that an authority issued"):
        open_seal(paths, ServeParams(public="https://x.example"), "x.example")


def test_nobody_is_served_before_a_sender_is_registered(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(paths.root)
    result = CliRunner().invoke(command, ["serve"])
    assert isinstance(result.exception, ExpungeError)
    assert "Nobody may send requests yet" in str(result.exception)


@pytest.mark.slow
def test_the_command_serves_a_request_and_calls_back(paths: Paths, post: Post) -> None:
    settings = yaml.safe_load(paths.params.read_text())
    write_params(paths.root, settings | {"serve": serve_params(post.origin) | {"poll_seconds": 1}})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = "from expunge.cli import app; app()"
    server = subprocess.Popen(
        [sys.executable, "-c", run, "serve", "--port", str(port)],
        cwd=paths.root,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert "Deletion requests are taken" in server.stdout.readline()
        where = f"http://127.0.0.1:{port}/v2"
        sent = json.dumps(OPENDSR_EXAMPLE | {"status_callback_urls": [f"{post.origin}/cb"]})
        curl = ["curl", "--silent", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "-w", "%{http_code}"]
        posted = [*curl, "-H", f"Authorization: Bearer {TOKEN}", "--data", sent, f"{where}/requests"]
        assert subprocess.run(posted, capture_output=True, text=True).stdout.endswith("201")
        assert subprocess.run(posted, capture_output=True, text=True).stdout.endswith("400")
        for foreign in ("Host: evil.example", "Origin: https://evil.example"):
            asked = [*curl, "-H", foreign, f"{where}/discovery"]
            assert subprocess.run(asked, capture_output=True, text=True).stdout.endswith("403")
        ledger = Office(paths, load_params(paths.params).serve).desk.ledger
        ledger.approve("req-0001", "Ada")
        ledger.mark_released(["req-0001"], "r001", "ab" * 32)
        deadline = time.monotonic() + 30
        while not any(b"completed" in body for _, body in post.told) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert b"completed" in post.told[-1][1]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
        server.stdout.close()
    nowhere_in(paths.root, "johndoe@example.com")
