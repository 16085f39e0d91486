"""OpenDSR 2.0, formerly OpenGDPR (https://github.com/opengdpr/OpenDSR, specification.md): erasure requests in JSON.

A controller shows a bearer token (§ 4.3 leaves authentication to the processor), gets a signed receipt (§ 7.4), asks
for the status (§ 8), cancels while nobody has decided (§ 9), and is called back on every change (§ 8.5). Version 1
differs by the names of its routes and headers, which § 10.1 asks to honour.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import re
import uuid
from datetime import UTC, datetime, time, timedelta
from typing import Any

from expunge.intake.protocols.book import Entry
from expunge.intake.protocols.identities import parse_identity
from expunge.intake.protocols.office import Asked, Office, Progress, Reply, SenderRefused
from expunge.intake.protocols.signing import Seal
from expunge.project.clock import iso_seconds, month_after
from expunge.project.errors import RequestRefused
from expunge.project.reading import strict_json
from expunge.requests.events import Record
from expunge.requests.request import Basis

NAME = "opendsr"
HEADERS = {"1.0": "X-OpenGDPR", "2.0": "X-OpenDSR"}
"""Version of the API → how its headers begin."""
BASIS: dict[str, Basis] = {"gdpr": "gdpr-art17", "ccpa": "ccpa"}
STATUS: dict[Progress, str] = {
    "waiting": "pending",
    "working": "in_progress",
    "done": "completed",
    "no_match": "completed",  # nothing was held, so nothing is left to erase
    "refused": "cancelled",
    "withdrawn": "cancelled",
}
SKEW = timedelta(minutes=5)
MAX_IDENTITIES = 20
_TIME = re.compile(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)")


def discovery(office: Office, address: str, version: str) -> dict[str, Any]:
    """§ 6: what this processor supports."""
    return {
        "api_version": version,
        "supported_identities": [
            {"identity_type": name, "identity_format": one}
            for name, formats in sorted(office.params.identities.items())
            for one in formats
        ],
        "supported_subject_request_types": ["erasure"],
        "processor_certificate": f"{address}/cert.pem",
    }


def controller(office: Office, authorization: str) -> str:
    """The controller whose bearer token this is.

    Raises:
        SenderRefused: nobody's (401).
    """
    scheme, _, token = authorization.partition(" ")
    digest = hashlib.sha256(token.strip().encode()).hexdigest()
    found = [
        name
        for name, one in office.params.controllers.items()
        if hmac.compare_digest(one.token_sha256, digest) and scheme.lower() == "bearer"
    ]
    if not found:
        raise SenderRefused(401, "Show the bearer token that was agreed on.")
    return found[0]


def receive(office: Office, seal: Seal, sender: str, body: bytes, version: str) -> Reply:
    """§ 7: record a request and answer with its signed receipt.

    Raises:
        SenderRefused: the request is malformed, of another kind, or was received before.
    """
    asked = _parse(office, sender, body, version)
    try:
        entry = office.accept(asked)
    except SenderRefused as refused:
        raise SenderRefused(400, f"subject_request_id: {refused}") from None
    record = office.record(entry)
    receipt = {
        "controller_id": sender,
        "expected_completion_time": _due(record),
        "received_time": record.request.received_at,
        # The specification wants the sender's own words in the receipt; they are not kept here.
        "encoded_request": base64.b64encode(body).decode(),
        "subject_request_id": entry.number,
        "api_version": version,
    }
    return signed(seal, receipt, version, 201)


def status(office: Office, entry: Entry, record: Record) -> dict[str, Any]:
    """§ 8.3: how far a request has come."""
    progress = office.progress(record)
    found = {
        "controller_id": entry.sender,
        "expected_completion_time": _due(record),
        "subject_request_id": entry.number,
        "request_status": STATUS[progress],
        "api_version": entry.version,
    }
    return found | ({"results_count": 0} if progress == "no_match" else {})


def cancel(office: Office, seal: Seal, entry: Entry) -> Reply:
    """§ 9: withdraw a request that is still pending.

    Raises:
        SenderRefused: it has been decided already.
    """
    office.withdraw(entry, ("waiting",))
    receipt = {
        "controller_id": entry.sender,
        "received_time": iso_seconds(office.now()),
        "subject_request_id": entry.number,
        "api_version": entry.version,
    }
    return signed(seal, receipt, entry.version, 202)


def signed(seal: Seal, content: dict[str, Any], version: str, status: int = 200) -> Reply:
    """An answer or a callback, with the signature of its body in the headers."""
    body = json.dumps(content).encode()
    prefix = HEADERS[version]
    headers = {f"{prefix}-Processor-Domain": seal.domain, f"{prefix}-Signature": seal.sign(body)}
    return Reply(status, body, headers)


def error(refused: SenderRefused) -> Reply:
    """§ 7.6: the error object, which repeats nothing of the request."""
    content = {"error": {"code": refused.status, "message": str(refused)}}
    return Reply(refused.status, json.dumps(content).encode(), {"Cache-Control": "no-store"})


def _parse(office: Office, sender: str, body: bytes, version: str) -> Asked:
    try:
        content = strict_json(body.decode("utf-8"))
    except ValueError:
        raise SenderRefused(400, "The body must be one JSON object in UTF-8, without repeated keys.") from None
    if not isinstance(content, dict):
        raise SenderRefused(400, "The body must be a JSON object.")
    if content.get("subject_request_type") != "erasure":
        raise SenderRefused(400, "subject_request_type: only 'erasure' is supported.")
    # The example of the specification itself (§ 7.2) leaves it out.
    regulation = content.get("regulation", "gdpr")
    if regulation not in BASIS:
        raise SenderRefused(400, "regulation: 'gdpr' and 'ccpa' are supported.")
    number = _uuid4(content.get("subject_request_id"))
    submitted = _moment(content.get("submitted_time"))
    now = office.now()
    if submitted > now + SKEW:
        raise SenderRefused(400, "submitted_time lies in the future.")
    identities = content.get("subject_identities")
    if not isinstance(identities, list) or not 1 <= len(identities) <= MAX_IDENTITIES:
        raise SenderRefused(400, f"subject_identities: give 1 to {MAX_IDENTITIES}.")
    try:
        parsed = tuple(
            parse_identity(
                one.get("identity_type"),
                one.get("identity_format"),
                one.get("identity_value"),
                office.params.identities,
            )
            for one in identities
            if isinstance(one, dict)
        )
    except RequestRefused as refused:
        raise SenderRefused(400, f"subject_identities: {refused}.") from None
    if len(parsed) != len(identities):
        raise SenderRefused(400, "subject_identities: each must be an object.")
    urls = content.get("status_callback_urls") or []
    if not isinstance(urls, list) or len(urls) > MAX_IDENTITIES:
        raise SenderRefused(400, f"status_callback_urls must be an array of at most {MAX_IDENTITIES}.")
    return Asked(
        protocol=NAME,
        sender=sender,
        number=number,
        identities=parsed,
        basis=BASIS[regulation],
        # The law counts from the day on which the person asked, which may lie before receipt here.
        due=max(now.date(), month_after(submitted.astimezone(UTC).date())),
        callbacks=office.checked_callbacks(urls, office.params.controllers[sender].callbacks),
        version=version,
    )


def _uuid4(value: object) -> str:
    try:
        found = uuid.UUID(value) if isinstance(value, str) else None
    except ValueError:
        found = None
    if found is None or found.version != 4 or str(found) != value:
        raise SenderRefused(400, "subject_request_id must be a UUID of version 4, in lower case.")
    return str(found)


def _moment(value: object) -> datetime:
    try:
        if isinstance(value, str) and _TIME.fullmatch(value):
            return datetime.fromisoformat(value.upper())
    except ValueError:
        pass
    raise SenderRefused(400, "submitted_time must be a date and time by RFC 3339.")


def _due(record: Record) -> str:
    return iso_seconds(datetime.combine(record.request.due, time(23, 59, 59), UTC))
