"""The events of the ledger: each is chained to the one before by its hash.

What state a request is in is read off its events, so the state can only move forward:

    received → previewed → approved → released → purged → verified
                   ↘ rejected  ↘ withdrawn

A request may be approved or rejected without a preview, and withdrawn until a release serves it. One event leads back:
when another model comes to serve a request, it is `released` again, for what was purged and verified of the model
before says nothing about this one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

from pydantic import Field, ValidationError

from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.files import digest_of
from expunge.project.schema import Block, Model, explain
from expunge.requests.request import DeletionRequest, LikeSample

State = Literal["received", "previewed", "approved", "rejected", "withdrawn", "released", "purged", "verified"]
"""A request's state is the kind of its last event."""

OPEN: tuple[State, ...] = ("received", "previewed", "approved")
"""The states in which the requester still waits."""

GENESIS = "0" * 64
"""What the first event names as its predecessor."""

FORWARD: dict[State, tuple[State, ...]] = {
    "previewed": ("received", "previewed"),
    "approved": ("received", "previewed"),
    "rejected": ("received", "previewed"),
    "withdrawn": OPEN,
    "released": ("approved", "released", "purged", "verified"),
    "purged": ("released", "purged"),
    "verified": ("purged", "verified"),
}
"""Event → the states in which it may happen."""


class Event(Block):
    """One line of the ledger; `hash` covers everything else, the previous event's hash included."""

    seq: int = Field(ge=1)
    request_id: str
    kind: State
    at: str
    by: str
    payload: dict[str, Any]
    previous: str
    hash: str

    @classmethod
    def after(cls, tail: Event | None, **content: Any) -> Event:
        """The event that follows `tail`, sealed with its hash."""
        body = {**content, "seq": tail.seq + 1 if tail else 1, "previous": tail.hash if tail else GENESIS}
        return cls(**body, hash=digest_of(body))

    @property
    def seal(self) -> str:
        """The hash that this content should have."""
        return digest_of(self.model_dump(exclude={"hash"}))


@dataclass(frozen=True)
class Record:
    """A request with what happened to it.

    Attributes:
        release: the last release that came to serve it, None until there is one.
        model_digest: of that release's model, None until there is one.
    """

    request: DeletionRequest
    state: State
    events: tuple[Event, ...]
    release: str | None = None
    model_digest: str | None = None

    @classmethod
    def of(cls, events: Sequence[Event]) -> Record:
        """Read the state off a request's events, oldest first."""
        served = next((event.payload for event in reversed(events) if event.kind == "released"), {})
        request = checked_content(DeletionRequest, events[0].payload)
        return cls(request, events[-1].kind, tuple(events), served.get("release"), served.get("model_digest"))

    @property
    def approved_digest(self) -> str | None:
        """The digest that was approved, None where none was."""
        return next((event.payload.get("digest") for event in self.events if event.kind == "approved"), None)

    @property
    def approved_near_duplicates(self) -> tuple[LikeSample, ...]:
        """The near-duplicates that the approval takes along."""
        return tuple(LikeSample(**one) for one in self._approval.get("near_duplicates", ()))

    @property
    def left_near_duplicates(self) -> tuple[str, ...]:
        """Ids of those that the approver saw and left alone."""
        return tuple(self._approval.get("excluded", ()))

    @property
    def _approval(self) -> dict[str, Any]:
        return next((event.payload for event in self.events if event.kind == "approved"), {})

    @property
    def shown_near_duplicates(self) -> tuple[LikeSample, ...] | None:
        """Those that the last preview showed, None where there was none or it could not look for them."""
        shown = next((event.payload for event in reversed(self.events) if event.kind == "previewed"), {})
        expansion = shown.get("expansion")
        return None if expansion is None else tuple(LikeSample(**one) for one in expansion)

    @property
    def is_open(self) -> bool:
        """Whether the requester still waits: it is neither decided against, withdrawn nor served."""
        return self.state in OPEN

    def days_left(self, today: date) -> int:
        """Days until the request is due; negative once it is overdue."""
        return (self.request.due - today).days

    def knows(self, kind: State, payload: Mapping[str, Any]) -> bool:
        """Whether the last event of `kind` says `payload`, and nothing since has made it void."""
        for event in reversed(self.events):
            if event.kind == kind:
                return event.payload == payload
            if event.kind == "released":
                return False
        return False


def check_chain(events: Iterable[Event]) -> str:
    """Check numbers, links, hashes and order of `events`; return the hash of the last one.

    Raises:
        ExpungeError: an event is changed, missing, out of place or not allowed; the first such one is named.
    """
    tail: Event | None = None
    records: dict[str, Record] = {}
    references: set[str] = set()
    for event in events:
        problem = _link_problem(tail, event) or _story_problem(records, references, event)
        if problem:
            raise ExpungeError(
                f"The ledger is broken at event {event.seq} ({event.kind} of {event.request_id}): {problem}. "
                "Restore the ledger from a backup; nothing after the event before can be trusted."
            )
        tail = event
    return tail.hash if tail else GENESIS


def _link_problem(tail: Event | None, event: Event) -> str | None:
    if event.seq != (tail.seq + 1 if tail else 1):
        return "the event before it is missing"
    if event.previous != (tail.hash if tail else GENESIS):
        return "it does not follow the event before it"
    return None if event.hash == event.seal else "its content was changed"


def _story_problem(records: dict[str, Record], references: set[str], event: Event) -> str | None:
    """What is wrong with `event` after what its request went through; `records` and `references` learn the event."""
    before = records.get(event.request_id)
    if event.kind == "received":
        try:
            record = Record.of([event])
        except ExpungeError as error:
            return f"it holds no valid request ({str(error).rstrip('.')})"
        # Numbers rise. A gap is left where a ledger was rebuilt without what nothing here remembers.
        last = next(reversed(records), numbered(0))
        if event.request_id != record.request.request_id or number_of(event.request_id) <= number_of(last):
            return "its request id is out of order"
        if record.request.external_reference in references:
            return "an earlier request has the same external reference"
        references.update(filter(None, [record.request.external_reference]))
    elif before is None or before.state not in FORWARD[event.kind]:
        return f"a request that is {before.state if before else 'unknown'} cannot be {event.kind}"
    elif event.kind == "approved" and event.payload.get("digest") != before.request.digest:
        return "it approves another content than the request's"
    elif event.kind == "released" and before.knows("released", event.payload):
        return "that model serves the request already"
    else:
        record = Record.of([*before.events, event])
    records[event.request_id] = record
    return None


def numbered(number: int) -> str:
    """The id of the request with this number."""
    return f"req-{number:04d}"


def number_of(request_id: str) -> int:
    """The number in a request's id."""
    return int(request_id.removeprefix("req-"))


def checked_content(model: type[Model], content: Mapping[str, Any]) -> Model:
    """`content` as a `model`.

    Raises:
        RequestRefused: it breaks the schema.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        # Values may be personal; who typed them knows them.
        raise RequestRefused(f"Deletion request: {explain(error, values=False)}") from None
