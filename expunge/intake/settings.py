"""Settings of the service that speaks privacy teams' protocols: who may send requests, and how subjects are named."""

from __future__ import annotations

import base64
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, Field, StringConstraints

from expunge.project.schema import Block, Count

Format = Literal["raw", "sha1", "md5", "sha256"]
SenderName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]


def _origin(value: str) -> str:
    parts = urlsplit(value)
    if parts.scheme not in ("http", "https") or not parts.netloc or value != f"{parts.scheme}://{parts.netloc}":
        raise ValueError("must be an origin, such as https://privacy.example.org")
    return value


def _ed25519(value: str) -> str:
    try:
        key = base64.b64decode(value, validate=True)
    except ValueError:
        key = b""
    if len(key) != 32:
        raise ValueError("must be the 32 bytes of an Ed25519 public key in base64")
    return value


Origin = Annotated[str, AfterValidator(_origin)]


class Controller(Block):
    """A sender of OpenDSR requests; it shows a bearer token, of which only the digest is kept here."""

    token_sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    callbacks: tuple[Origin, ...] = Field((), description="where its callback URLs may lead; others are refused")


class Agent(Block):
    """An authorised agent of the Data Rights Protocol, as the network's directory lists it."""

    verify_key: Annotated[str, AfterValidator(_ed25519)]
    callbacks: tuple[Origin, ...] = ()


class Participant(Block):
    """A participant of the Data Deletion Request Framework: `publicKey` of its dsrdelete.json, copied by hand."""

    keys: tuple[dict[str, Any], ...] = Field(min_length=1)


class ServeParams(Block):
    """`expunge serve`: without senders it answers nobody."""

    public: Origin | None = Field(None, description="origin under which a reverse proxy offers the service")
    identities: dict[SenderName, tuple[Format, ...]] = Field(
        {"controller_customer_id": ("raw",), "email": ("raw", "sha256")},
        description="types of identity that are understood, each with its formats",
    )
    subject_id_is: str = Field("controller_customer_id", description="type of identity that the catalog's subjects are")
    fulfilled: Literal["released", "purged"] = Field("released", description="state that senders are told is the end")
    per_minute: Count = Field(300, description="requests of one sender in a minute")
    poll_seconds: Count = Field(10, description="how often the ledger is looked at for callbacks that are due")
    private_key: str = ".expunge/protocols/key.pem"
    certificate: str = ".expunge/protocols/certificate.pem"
    business_id: SenderName = Field("EXPUNGE", description="`business-id` in the Data Rights Protocol")
    iab_basis: Literal["gdpr-art17", "ccpa"] = Field("gdpr-art17", description="the framework's requests name no law")
    controllers: dict[SenderName, Controller] = Field({})
    agents: dict[SenderName, Agent] = Field({})
    participants: dict[SenderName, Participant] = Field({})
