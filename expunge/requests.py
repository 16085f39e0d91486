"""Deletion requests: who asks to delete what, on which basis, by when.

A request holds selectors and a legal basis; of the person who asked it holds a keyed digest, never their words.
"""

from __future__ import annotations

import calendar
import contextlib
import getpass
import hmac
import os
import secrets
import tempfile
import unicodedata
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from expunge.config import Block
from expunge.errors import ExpungeError
from expunge.files import digest_of
from expunge.paths import Paths

Basis = Literal["gdpr-art17", "ccpa", "copyright", "safety", "quality"]

KEY_VARIABLE = "EXPUNGE_KEY"


def _showable(text: str) -> str:
    """Refuse what could rewrite the terminal of the person who has to approve the request."""
    for character in text:
        if (unicodedata.category(character) == "Cc" and character not in "\n\t") or (
            unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        ):
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_showable)]
Note = Annotated[str, StringConstraints(max_length=2000), AfterValidator(_showable)]
Sql = Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=20_000)]


class IdSelector(Block):
    """The samples with these ids."""

    kind: Literal["id"] = "id"
    ids: tuple[Name, ...] = Field(min_length=1)

    @property
    def summary(self) -> str:
        return f"id {self.ids[0]}" if len(self.ids) == 1 else f"{len(self.ids)} ids"


class ClassSelector(Block):
    """All samples of one class."""

    kind: Literal["class"] = "class"
    class_name: Name

    @property
    def summary(self) -> str:
        return f"class = {self.class_name}"


class SubjectSelector(Block):
    """All samples of one pseudonymous subject."""

    kind: Literal["subject"] = "subject"
    subject_id: Name

    @property
    def summary(self) -> str:
        return f"subject = {self.subject_id}"


class TextSelector(Block):
    """The pictures nearest to a text: those that reach `min_score` (a cosine), or the `top` best."""

    kind: Literal["text"] = "text"
    text: Name
    min_score: float | None = Field(None, ge=-1, le=1, allow_inf_nan=False)
    top: int | None = Field(None, ge=1)

    @model_validator(mode="after")
    def _one_rule(self) -> TextSelector:
        if (self.min_score is None) == (self.top is None):
            raise ValueError("a text selector needs either a min_score or a top")
        return self

    @property
    def summary(self) -> str:
        rule = f"score >= {self.min_score:g}" if self.top is None else f"top {self.top}"
        return f"text ~ {self.text!r} ({rule})"


class WhereSelector(Block):
    """The samples for which a SQL predicate over the catalog's columns is true."""

    kind: Literal["where"] = "where"
    sql: Annotated[Sql, AfterValidator(_showable)]

    @property
    def summary(self) -> str:
        return f"where {' '.join(self.sql.split())}"


Selector = Annotated[
    IdSelector | ClassSelector | SubjectSelector | TextSelector | WhereSelector, Field(discriminator="kind")
]


class DeletionRequest(Block):
    """Who asks to delete what, on which legal basis, by when."""

    request_id: str = Field(pattern=r"^req-\d{4,}$")
    selectors: tuple[Selector, ...] = Field(min_length=1)
    basis: Basis
    requester_digest: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    received_at: str = Field(pattern=r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
    due: date
    note: Note | None = None
    # Left out where there is none: requests that were approved before there were references keep their digest.
    external_reference: Name | None = Field(None, exclude_if=lambda reference: reference is None)

    @model_validator(mode="after")
    def _due_after_receipt(self) -> DeletionRequest:
        if self.due < date.fromisoformat(self.received_at[:10]):
            raise ValueError(f"due {self.due} lies before the request was received, {self.received_at[:10]}")
        return self

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON; approving a request approves this digest."""
        return digest_of(self.model_dump(mode="json"))


def utc_now() -> datetime:
    """The clock of the ledger."""
    return datetime.now(UTC)


def iso_seconds(moment: datetime) -> str:
    """`moment` in UTC as `2026-11-02T09:00:00Z`."""
    return moment.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def month_after(day: date) -> date:
    """The same day of the next month, or its last day: GDPR article 12(3) allows one month from receipt."""
    year, month = (day.year, day.month + 1) if day.month < 12 else (day.year + 1, 1)
    return date(year, month, min(day.day, calendar.monthrange(year, month)[1]))


def login_name() -> str:
    """The person at the keyboard, as the system knows them.

    Raises:
        ExpungeError: the system does not know (as in some containers).
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ExpungeError("This system does not say who you are; pass --by NAME or set LOGNAME.") from None


def requester_digest(requester: str, root: Path) -> str:
    """Keyed HMAC-SHA256 of what a requester is called: the same person gives the same digest, and without the key
    nobody can test a guess. Case and spacing do not count.

    Raises:
        ExpungeError: the key cannot be read or created.
    """
    plain = " ".join(unicodedata.normalize("NFKC", requester).casefold().split())
    return hmac.new(_key(root), plain.encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def _key(root: Path) -> bytes:
    """The secret from the environment, else from the key file, which the first use creates."""
    if secret := os.environ.get(KEY_VARIABLE):
        return secret.encode("utf-8", "surrogateescape")
    path = Paths(root).key
    try:
        if not path.exists():
            _create_key(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ExpungeError(
            f"The key {path} cannot be used: {error.strerror}. Mend that, or set {KEY_VARIABLE}."
        ) from error
    if not key:
        raise ExpungeError(f"The key {path} is empty. Restore it from your backup, or set {KEY_VARIABLE}.")
    return key


def _create_key(path: Path) -> None:
    """Appears complete or not at all and never replaces another process's key: a hard link does both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp creates the file with mode 0600, which the link shares.
    handle, partial = tempfile.mkstemp(prefix=".key.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        os.unlink(partial)
