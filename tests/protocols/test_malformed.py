"""Whatever a sender may send: the service answers with its protocol's error, and only an acceptance writes an entry."""

from __future__ import annotations

import base64
import json
from typing import Any

import pytest
from fastapi.testclient import TestClient
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from expunge.intake.protocols.office import Office
from expunge.intake.protocols.service import create_app
from expunge.intake.protocols.signing import Seal
from expunge.intake.settings import ServeParams
from expunge.project.paths import Paths
from senders import (
    ADDRESS,
    AGENT_KEY,
    NOW,
    OPENDSR_EXAMPLE,
    agent_token,
    bearer,
    drp_message,
    id_token,
    request_token,
    serve_params,
    signed,
)

LEAVES = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20)
VALUES = st.recursive(
    LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=8,
)
DEEP = st.sampled_from([b"[" * 30_000, b'{"a":' * 10_000, b'[{"a":' * 8_000 + b"1", b"\xef\xbb\xbf{}", b"1e999"])
BYTES = st.binary(max_size=60) | DEEP
WORDS = st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_characters="\x7f"), max_size=60)
NAMES = st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#%."), max_size=9)
FUZZ = settings(
    max_examples=60,
    deadline=None,
    derandomize=True,
    database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)


@pytest.fixture
def patient(paths: Paths, seal: Seal) -> tuple[TestClient, Office]:
    """The service for senders who may ask as often as they like, and what it keeps."""
    office = Office(paths, ServeParams.model_validate(serve_params() | {"per_minute": 100_000}), lambda: NOW)
    return TestClient(create_app(office, seal, ADDRESS)), office


def changed(message: dict[str, Any]) -> st.SearchStrategy[Any]:
    """A message with one value replaced by anything, one left out, or anything at all."""
    names = st.sampled_from(sorted(message))
    replaced = st.builds(lambda name, value: message | {name: value}, names, VALUES)
    left = names.map(lambda name: {key: value for key, value in message.items() if key != name})
    return replaced | left | VALUES


def answered(patient: tuple[TestClient, Office], path: str, content: bytes | str, headers: dict[str, Any]) -> None:
    """Send it; an error of the service itself would be raised here."""
    client, office = patient
    before = len(office.desk.ledger.records())
    answer = client.post(path, content=content, headers=headers)
    assert answer.status_code in (200, 201, 202) or 400 <= answer.status_code < 500, (answer.status_code, content)
    # A message that is in order buys a token at an agent's own address, and asks for nothing there.
    recorded = answer.status_code < 300 and not path.startswith("/v1/agent/")
    assert len(office.desk.ledger.records()) == before + recorded, (answer.status_code, content)


@FUZZ
@given(st.data())
def test_opendsr_takes_whatever_comes_without_breaking(patient, data) -> None:
    sent = data.draw(changed(OPENDSR_EXAMPLE).map(lambda value: json.dumps(value).encode()) | BYTES)
    token = bearer() if data.draw(st.booleans()) else {b"Authorization": data.draw(WORDS).encode("latin-1")}
    answered(patient, data.draw(st.sampled_from(["/v2/requests", "/v1/opengdpr_requests"])), sent, token)
    path = data.draw(
        st.text(st.characters(min_codepoint=33, max_codepoint=126, exclude_characters="/?#%."), max_size=9)
    )
    for method in ("GET", "DELETE"):
        assert 400 <= patient[0].request(method, f"/v2/requests/{path}x", headers=token).status_code < 500


@FUZZ
@given(st.data())
def test_drp_takes_whatever_comes_signed_or_not_without_breaking(patient, data) -> None:
    if "Authorization" not in patient[0].headers:
        patient[0].headers |= agent_token(patient[0])
    message = data.draw(changed(drp_message()))
    body = data.draw(
        st.sampled_from([signed(message), base64.b64encode(json.dumps(message).encode())])
        | BYTES
        | BYTES.map(lambda raw: base64.b64encode(AGENT_KEY.sign(raw) + raw))
    )
    headers = {} if data.draw(st.booleans()) else {b"Authorization": data.draw(WORDS).encode("latin-1")}
    path = data.draw(st.sampled_from(["/v1/data-rights-request", "/v1/agent/AA_ID", "/v1/agent/NOBODY"]))
    answered(patient, path, body, headers)


@FUZZ
@given(st.data())
def test_iab_takes_whatever_comes_signed_or_not_without_breaking(patient, data) -> None:
    claims = st.sampled_from(["version", "jti", "iss", "sub", "iat", "idJWT", "optionalParameters"])
    inner = st.builds(lambda name, value: request_token(idJWT=id_token(**{name: value})), claims, VALUES)
    outer = st.builds(lambda name, value: request_token(**{name: value}), claims, VALUES)
    pieces = st.lists(BYTES.map(lambda raw: base64.urlsafe_b64encode(raw).rstrip(b"=")), max_size=4).map(b".".join)
    token = data.draw(outer | inner | pieces | BYTES)
    wrapped = data.draw(st.booleans()) and isinstance(token, str)
    answered(patient, "/iab/delete", json.dumps({"rqJWT": token}) if wrapped else token, {})
