"""What `expunge doctor` finds: one line a question, whether all is well, worth knowing, or in the way."""

from __future__ import annotations

import socket
from dataclasses import dataclass
from typing import Literal
from urllib.parse import urlparse

PATIENCE = 3.0
"""Seconds that an address is given to answer."""


@dataclass(frozen=True)
class Symptom:
    """The answer to one question.

    Attributes:
        subject: what was looked at.
        state: `blocks` where work stops on it, `note` where it is worth knowing.
        found: what is there, as a sentence or a few words.
        cure: what to do; empty where there is nothing to do.
    """

    subject: str
    state: Literal["ok", "note", "blocks"]
    found: str
    cure: str = ""


def answers(host: str, port: int) -> bool:
    """Whether something accepts connections there."""
    try:
        with socket.create_connection((host, port), timeout=PATIENCE):
            return True
    except OSError:
        return False


def address_answers(url: str) -> bool:
    """Whether the server of an address of the kind http, https or a database's accepts connections."""
    parts = urlparse(url)
    usual = {"http": 80, "https": 443, "postgresql": 5432}.get(parts.scheme.partition("+")[0], 443)
    return answers(parts.hostname or "localhost", parts.port or usual)


def without_password(url: str) -> str:
    """An address that may be shown."""
    parts = urlparse(url)
    return parts._replace(netloc=parts.netloc.rpartition("@")[2]).geturl()
