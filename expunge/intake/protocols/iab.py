"""IAB Tech Lab's Data Deletion Request Framework 1.0 (https://github.com/InteractiveAdvertisingBureau/Data-Subject-Rights).

A requester sends a signed token (rqJWT) that wraps the first party's signed token (idJWT); the answer is a signed
receipt (acJWT) with a result code. Keys are those of the participants' dsrdelete.json files, copied into params.yaml:
a token never makes this machine fetch anything. The framework has neither status nor callbacks.
"""

from __future__ import annotations

import base64
import json
import secrets
from datetime import timedelta
from typing import Any

from joserfc import jwt
from joserfc.errors import BadSignatureError, JoseError
from joserfc.jwk import KeySet

from expunge.intake.protocols.identities import Identity, UnknownType, parse_identity
from expunge.intake.protocols.office import Asked, Office, Reply, SenderRefused
from expunge.intake.protocols.signing import Seal
from expunge.intake.settings import Participant
from expunge.project.errors import RequestRefused
from expunge.project.reading import strict_json

NAME = "iab"
VERSION = "1.0"
ROUTE = "/iab/delete"
ALGORITHMS = ("RS256", "RS384", "RS512", "PS256", "ES256", "ES384", "EdDSA")
SKEW = timedelta(minutes=5)
REQUEST_AGE = timedelta(hours=24)
IDENTITY_AGE = timedelta(days=45)
"""An idJWT is older than the rqJWT that passes it on; the law gives the first party 45 days (CCPA)."""
MALFORMED, SIGNATURE, TOKEN, TYPE, FORMAT, TIMESTAMP = 1, 2, 3, 4, 5, 6
"""Result codes; 0 is success."""


def resource(office: Office, seal: Seal, address: str) -> dict[str, Any]:
    """dsrdelete.json: where requests go, which identifiers are understood, and the key that signs receipts."""
    pairs = [(name, one) for name, formats in sorted(office.params.identities.items()) for one in formats]
    key = seal.jwk.as_dict(private=False, kid=seal.jwk.kid, use="sig", alg="RS256")
    return {
        "endpoint": f"{address}{ROUTE}",
        "identifiers": [{"id": i, "type": name, "format": one} for i, (name, one) in enumerate(pairs, start=1)],
        "publicKey": [key],
        "vendorScriptRequirement": False,
    }


def receive(office: Office, seal: Seal, body: bytes) -> Reply:
    """Record a request and answer with the signed receipt; a request at fault gets one as well, with status 400."""
    given = ""
    try:
        given = _token(body)
        asked = _parse(office, given)
        office.accept(asked)
    except SenderRefused as refused:
        # Received before: the framework's codes have no number of its own for that.
        code = refused.code or TOKEN
        return _receipt(office, seal, given, code, str(refused), 429 if refused.status == 429 else 400)
    return _receipt(office, seal, given, 0, None, 202)


def _token(body: bytes) -> str:
    """The framework does not say how the token travels: alone, or as `rqJWT` of a JSON object."""
    try:
        text = body.decode("ascii").strip()
        content = strict_json(text) if text.startswith("{") else {"rqJWT": text}
    except ValueError:
        raise SenderRefused(
            400, "The body must be a token, or a JSON object with the token as rqJWT.", MALFORMED
        ) from None
    if not isinstance(token := content.get("rqJWT"), str) or not token:
        raise SenderRefused(400, "There is no rqJWT.", MALFORMED)
    return token


def _parse(office: Office, token: str) -> Asked:
    request = _claims(office, token, ("version", "idJWT", "jti", "iss", "sub", "iat"), REQUEST_AGE)
    # Only its signature and age count: the requester may know the person by an alias, which `sub` then holds.
    _claims(office, request["idJWT"], ("version", "jti", "iss", "sub", "iat"), IDENTITY_AGE)
    sender = request["iss"]
    return Asked(
        protocol=NAME,
        sender=sender,
        number=office.secret("iab-number", [sender, request["jti"]])[:32],
        identities=(_identity(office, request["sub"]),),
        basis=office.params.iab_basis,
        version=VERSION,
    )


def _claims(office: Office, token: object, required: tuple[str, ...], age: timedelta) -> dict[str, Any]:
    """The claims of a token that its issuer signed not longer than `age` ago."""
    if not isinstance(token, str):
        raise SenderRefused(400, "A token is not a string.", MALFORMED)
    parties = office.params.participants
    try:
        unchecked = strict_json(_payload(token))
        party = parties.get(str(unchecked.get("iss"))) if isinstance(unchecked, dict) else None
        if party is None:
            raise SenderRefused(400, "The issuer of a token is not known here.", SIGNATURE)
        claims = jwt.decode(token, _keys(party), algorithms=ALGORITHMS).claims
    except BadSignatureError:
        raise SenderRefused(400, "The signature of a token is not its issuer's.", SIGNATURE) from None
    except (JoseError, ValueError, TypeError):
        raise SenderRefused(400, "A token is not a JSON Web Token that can be checked.", TOKEN) from None
    if missing := [name for name in required if name not in claims]:
        raise SenderRefused(400, f"A token lacks {', '.join(missing)}.", MALFORMED)
    if claims["version"] != VERSION or not isinstance(claims["jti"], str) or not claims["jti"]:
        raise SenderRefused(400, f"Version {VERSION} is spoken here, and jti is a string.", MALFORMED)
    now, issued = office.now().timestamp(), claims["iat"]
    if isinstance(issued, bool) or not isinstance(issued, int | float):
        raise SenderRefused(400, "iat must be a number of seconds.", TIMESTAMP)
    if not now - age.total_seconds() <= issued <= now + SKEW.total_seconds():
        raise SenderRefused(400, "A token is too old, or of the future.", TIMESTAMP)
    return claims


def _payload(token: str) -> str:
    """What a token says, before anything is believed: only to learn whose key has to fit."""
    part = token.split(".")[1] if token.count(".") == 2 else ""
    return base64.urlsafe_b64decode(part + "=" * (-len(part) % 4)).decode("utf-8")


def _keys(party: Participant) -> KeySet:
    return KeySet.import_key_set({"keys": [dict(key) for key in party.keys]})


def _identity(office: Office, subject: object) -> Identity:
    if not isinstance(subject, dict):
        raise SenderRefused(400, "sub must hold identifierValue, identifierType and identifierFormat.", MALFORMED)
    kind, format, value = (subject.get(f"identifier{name}") for name in ("Type", "Format", "Value"))
    try:
        return parse_identity(kind, format, value, office.params.identities)
    except UnknownType as refused:
        raise SenderRefused(400, f"Unsupported identifier type: {refused}", TYPE) from None
    except RequestRefused as refused:
        raise SenderRefused(400, f"Incorrect identifier format: {refused}", FORMAT) from None


def _receipt(office: Office, seal: Seal, given: str, code: int, reason: str | None, status: int) -> Reply:
    claims = {
        "version": VERSION,
        "rqJWT": given,
        "jti": secrets.token_hex(16),
        "iss": seal.domain,
        "iat": int(office.now().timestamp()),
        "raResultCode": code,
    }
    token = seal.token(claims | ({"raResultString": reason} if reason else {}))
    return Reply(status, json.dumps({"acJWT": token}).encode())
