"""Consumer Reports' Data Rights Protocol 1.0 (https://github.com/consumer-reports-innovation-lab/data-rights-protocol).

An authorised agent signs every message with Ed25519, prepends the signature and sends both in base64 as text/plain
(§ 3.07.1). It first trades a signed message for a bearer token (§ 2.05), then exercises the right to deletion (§ 2.01),
asks (§ 2.02) and revokes (§ 2.04). Messages are checked in the order of § 3.07.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import secrets
import uuid
from datetime import UTC, datetime, time, timedelta
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from expunge.intake.protocols.book import Entry
from expunge.intake.protocols.identities import Identity, parse_identity
from expunge.intake.protocols.office import Asked, Office, Progress, Reply, SenderRefused
from expunge.project.clock import iso_seconds
from expunge.project.errors import RequestRefused
from expunge.project.reading import strict_json
from expunge.requests.events import Record

NAME = "drp"
VERSION = "1.0"
SIGNATURE = 64
LONGEST = timedelta(hours=24)
"""A message that is valid for longer is refused; § 2.01 recommends ten minutes."""
STATUS: dict[Progress, tuple[str, str | None]] = {
    "waiting": ("in_progress", None),
    "working": ("in_progress", None),
    "done": ("fulfilled", None),
    "no_match": ("denied", "no_match"),
    "refused": ("denied", "other"),
    "withdrawn": ("revoked", None),
}
CLAIMS = ("email", "phone_number")
"""Claims by which a person is found, each counting only where the agent says that it verified it."""


def token(office: Office, agent: str, body: bytes) -> Reply:
    """§ 2.05: a bearer token for an agent that signs its wish for one.

    Raises:
        SenderRefused: the message is forged, expired, used before, or names somebody else (403).
    """
    message = _opened(office, agent, body)
    _check(office, agent, message)
    if not office.book.use_once(hashlib.sha256(body.strip()).hexdigest(), _expiry(message), office.now().timestamp()):
        raise SenderRefused(403, "This message was used before.")
    salt = secrets.token_hex(16)
    return answer({"agent-id": agent, "token": f"{agent}:{salt}:{office.secret('drp-token', [agent, salt])}"})


def agent_of(office: Office, authorization: str) -> str:
    """The agent to whom this bearer token was given.

    Raises:
        SenderRefused: nobody (401).
    """
    scheme, _, given = authorization.partition(" ")
    agent, _, rest = given.strip().partition(":")
    salt, _, seal = rest.partition(":")
    genuine = hmac.compare_digest(seal.encode(), office.secret("drp-token", [agent, salt]).encode())
    if scheme.lower() != "bearer" or not genuine or agent not in office.params.agents:
        raise SenderRefused(401, "Ask for a bearer token first: POST /v1/agent/{agent-id}.")
    return agent


def exercise(office: Office, agent: str, body: bytes) -> Reply:
    """§ 2.01: record a deletion and answer with its status.

    Raises:
        SenderRefused: the message is forged, expired, repeated, or asks for what is not supported.
    """
    message = _opened(office, agent, body)
    _check(office, agent, message)
    if message.get("exercise") != "deletion":
        raise SenderRefused(400, "Unsupported rights actions submitted: only 'deletion' is supported.")
    if message.get("regime") not in (None, "ccpa"):
        raise SenderRefused(400, "Unsupported regime: give 'ccpa', or none.")
    given = message.get("agent-request-id")
    if given is not None and (not isinstance(given, str) or not re.fullmatch(r"[\w.:-]{1,100}", given, re.ASCII)):
        raise SenderRefused(400, "agent-request-id has 1 to 100 letters, digits and . : _ - at most.")
    callback = message.get("status_callback")
    urls = office.checked_callbacks([] if callback is None else [callback], office.params.agents[agent].callbacks)
    # The same message, or the same request in another message, gives the same id: that is how it is known again.
    seed = office.secret("drp-number", [agent, given or hashlib.sha256(body.strip()).hexdigest()])
    asked = Asked(
        protocol=NAME,
        sender=agent,
        number=str(uuid.UUID(seed[:32], version=4)),
        identities=_identities(office, message),
        basis="ccpa",
        callbacks=urls,
        agent_number=given,
        version=VERSION,
    )
    entry = office.accept(asked)
    return answer(status(office, entry, office.record(entry)))


def status(office: Office, entry: Entry, record: Record) -> dict[str, Any]:
    """§ 3.03: how far a request has come."""
    state, reason = STATUS[office.progress(record)]
    found = {
        "request_id": entry.number,
        "status": state,
        "received_at": record.request.received_at,
        "expected_by": iso_seconds(datetime.combine(record.request.due, time(23, 59, 59), UTC)),
    }
    details = {"no_match": "No data of this person is held.", "other": "A person has looked at it and said no."}
    if reason:
        found |= {"reason": reason, "processing_details": details[reason]}
    return found | ({"agent_request_id": entry.agent_number} if entry.agent_number else {})


def revoke(office: Office, entry: Entry, body: bytes) -> Reply:
    """§ 2.04: withdraw a request that no release serves yet. The person's reason is read by nobody and not kept.

    Raises:
        SenderRefused: the message is forged, or it is too late.
    """
    _opened(office, entry.sender, body)
    office.withdraw(entry, ("waiting", "working"))
    return answer(status(office, entry, office.record(entry)))


def error(refused: SenderRefused) -> Reply:
    """§ 3.06: the error, which repeats nothing of the request."""
    return Reply(refused.status, json.dumps({"code": str(refused.status), "message": str(refused)}).encode())


def answer(content: dict[str, Any]) -> Reply:
    """`content` with status 200."""
    return Reply(200, json.dumps(content).encode())


def _opened(office: Office, agent: str, body: bytes) -> dict[str, Any]:
    """The JSON object of a message that `agent` signed."""
    if agent not in office.params.agents:
        raise SenderRefused(403, "This agent is not known here.")
    try:
        signed = base64.b64decode(body.strip(), validate=True)
    except ValueError:
        raise SenderRefused(400, "The body must be a signed message in base64.") from None
    key = Ed25519PublicKey.from_public_bytes(base64.b64decode(office.params.agents[agent].verify_key))
    try:
        key.verify(signed[:SIGNATURE], signed[SIGNATURE:])
    except InvalidSignature:
        raise SenderRefused(403, "The signature is not the agent's.") from None
    try:
        message = strict_json(signed[SIGNATURE:].decode("utf-8"))
    except ValueError:
        message = None
    if not isinstance(message, dict):
        raise SenderRefused(400, "The message must be a JSON object.")
    return message


def _check(office: Office, agent: str, message: dict[str, Any]) -> None:
    if message.get("agent-id") != agent:
        raise SenderRefused(403, "The message names another agent.")
    if message.get("business-id") != office.params.business_id:
        raise SenderRefused(403, "The message is for another business.")
    now = office.now().timestamp()
    issued, expires = _seconds(message, "issued-at"), _expiry(message)
    if not issued <= now < expires or expires - issued > LONGEST.total_seconds():
        raise SenderRefused(403, "The message has expired, is not valid yet, or is valid for more than a day.")
    if message.get("drp.version") != VERSION:
        raise SenderRefused(400, f"Only version {VERSION} of the protocol is spoken here.")


def _expiry(message: dict[str, Any]) -> float:
    return _seconds(message, "expires-at")


def _seconds(message: dict[str, Any], name: str) -> float:
    try:
        moment = datetime.fromisoformat(message[name])
    except (KeyError, TypeError, ValueError):
        raise SenderRefused(400, f"{name} must be a timestamp by ISO 8601.") from None
    return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)).timestamp()


def _identities(office: Office, message: dict[str, Any]) -> tuple[Identity, ...]:
    given = [name for name in CLAIMS if message.get(name) and message.get(f"{name}_verified") is True]
    known = [name for name in given if "raw" in office.params.identities.get(name, ())]
    if not known:
        raise SenderRefused(400, f"Send a verified {' or '.join(n for n in CLAIMS if n in office.params.identities)}.")
    try:
        return tuple(parse_identity(name, "raw", message[name], office.params.identities) for name in known)
    except RequestRefused as refused:
        raise SenderRefused(400, f"{known[0]}: {refused}.") from None
