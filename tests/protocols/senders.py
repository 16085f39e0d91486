"""What senders of the three protocols say: the examples that their specifications publish, and variations."""

from __future__ import annotations

import base64
import hashlib
import json
import threading
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import padding
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from fastapi.testclient import TestClient
from joserfc import jwt
from joserfc.jwk import ECKey, import_key

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
