"""Deletion requests: who asks to delete what, on which basis, by when.

A request holds selectors and a legal basis; of the person who asked it holds a keyed digest, never their words.
"""

from __future__ import annotations

import getpass
import unicodedata
from datetime import date
from typing import Annotated, Literal

from pydantic import AfterValidator, Field, StringConstraints, model_validator

from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.files import digest_of
from expunge.project.schema import Block
from expunge.project.terminal import is_hidden, turns

Basis = Literal["gdpr-art17", "ccpa", "copyright", "safety", "quality"]


def _showable(text: str) -> str:
    """Refuse what could rewrite the terminal of the person who has to approve the request."""
    for character in text:
        if (unicodedata.category(character) == "Cc" and character not in "\n\t") or turns(character):
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")
    return text


def one_line(text: str, what: str) -> str:
    """`text`, if a table, a log line and a terminal can show it as it is.

    Checked where something is written, not where it is read: a ledger keeps what it once accepted.

    Raises:
        RequestRefused: it holds a line break, an escape sequence or another character that is not shown.
    """
    for character in text:
        if is_hidden(character):
            raise RequestRefused(f"{what} must be one line of plain text, without U+{ord(character):04X}.")
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


class HashedSubjectSelector(Block):
    """All samples of the subjects whose ids have these keyed digests (`subject_digests`): nobody's id in clear."""

    kind: Literal["hashed-subject"] = "hashed-subject"
    digests: tuple[Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")], ...] = Field(min_length=1)

    @property
    def summary(self) -> str:
        return f"subject with digest {', '.join(digest[:8] for digest in self.digests)}"


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


class LikeSample(Block):
    """A sample that looks like an example or like a selected sample: what was found, why, and how near (a cosine)."""

    sample_id: Name
    reason: Annotated[str, StringConstraints(min_length=1, max_length=1000)]
    score: float = Field(ge=-1.001, le=1.001, allow_inf_nan=False)


class ImageSelector(Block):
    """The pictures like an example, as they were found when the request came in.

    Neither the example nor its embedding is kept, here or anywhere: `example` is its keyed digest, by which whoever
    has the picture and the key can tell that this is the one.
    """

    kind: Literal["image"] = "image"
    example: str = Field(pattern=r"^[0-9a-f]{64}$")
    min_score: float = Field(ge=-1, le=1, allow_inf_nan=False)
    found: tuple[LikeSample, ...]

    @property
    def summary(self) -> str:
        return f"image ~ example {self.example[:8]} (score >= {self.min_score:g})"


class WhereSelector(Block):
    """The samples for which a SQL predicate over the catalog's columns is true."""

    kind: Literal["where"] = "where"
    sql: Annotated[Sql, AfterValidator(_showable)]

    @property
    def summary(self) -> str:
        return f"where {' '.join(self.sql.split())}"


Selector = Annotated[
    IdSelector | ClassSelector | SubjectSelector | HashedSubjectSelector | TextSelector | ImageSelector | WhereSelector,
    Field(discriminator="kind"),
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
    # The reviewer's yes, not the requester's words: it is added by the approval and no part of the digest.
    near_duplicates: tuple[LikeSample, ...] = Field((), exclude_if=lambda found: not found)

    @model_validator(mode="after")
    def _due_after_receipt(self) -> DeletionRequest:
        if self.due < date.fromisoformat(self.received_at[:10]):
            raise ValueError(f"due {self.due} lies before the request was received, {self.received_at[:10]}")
        return self

    @property
    def digest(self) -> str:
        """Hex SHA-256 of the canonical JSON; approving a request approves this digest."""
        return digest_of(self.model_dump(mode="json", exclude={"near_duplicates"}))


def login_name() -> str:
    """The person at the keyboard, as the system knows them.

    Raises:
        ExpungeError: the system does not know (as in some containers).
    """
    try:
        return getpass.getuser()
    except (KeyError, OSError):
        raise ExpungeError("This system does not say who you are; pass --by NAME or set LOGNAME.") from None
