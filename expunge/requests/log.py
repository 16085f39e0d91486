"""The log under the ledger: events in a chain, both heads moved along with every append, begun only once.

Nothing is appended to a log whose end is not the one that was recorded last: a new event would vouch for what came
before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from datetime import UTC, date, datetime
from functools import partial
from pathlib import Path
from typing import Self, TypeVar

import sqlalchemy as sa

from expunge.project.clock import iso_seconds, utc_now
from expunge.project.errors import ExpungeError
from expunge.requests import origin
from expunge.requests import table as journal
from expunge.requests.database import Database, Moved
from expunge.requests.events import Event, State, check_chain
from expunge.requests.head import Head, HeadBroken, Heads, Sealing
from expunge.requests.request import one_line
from expunge.requests.settings import LedgerParams

Result = TypeVar("Result")
Step = Callable[[sa.Connection, Event | None], tuple[Result, Event | None]]
"""What a transaction does: given the last event, it returns its result and the event that is the last one then."""


class ChainedLog:
    """The durable, hash-chained log of all events. Every method is one transaction.

    Raises:
        ExpungeError: every method, when the database is busy, full, unwritable or damaged.
    """

    def __init__(self, database: Database, root: Path, clock: Callable[[], datetime], four_eyes: bool = False) -> None:
        self._database = database
        self._root = root
        self._clock = clock
        self._four_eyes = four_eyes
        self._heads = Heads(root)

    @classmethod
    def open(cls, params: LedgerParams, root: Path, clock: Callable[[], datetime] = utc_now) -> Self:
        """Open the ledger at `params.url`, a relative SQLite path being relative to `root`.

        A ledger that was never used starts with the events of the file `params.seed`, all of them or none.

        Raises:
            ExpungeError: there was a ledger here, and it is gone.
        """
        if origin.is_lost(params, root):
            raise origin.lost(params, root)
        ledger = cls(Database(params.url, root), root, clock, params.four_eyes)
        if not ledger._database.read(ledger._is_started):
            ledger._start(params)
        return ledger

    @classmethod
    def begin_again(cls, params: LedgerParams, root: Path, events: Iterable[Event], by: str) -> Self:
        """A ledger in place of one that is gone, with `events` to begin with, sealed in the name of `by`.

        Raises:
            ExpungeError: the events are no whole chain, or there is a ledger with events.
        """
        ledger = cls(Database(params.url, root), root, utc_now, params.four_eyes)
        ledger.restore(events, by)
        return ledger

    @property
    def is_empty(self) -> bool:
        """Whether nothing was ever recorded."""
        return self._database.read(journal.tail) is None

    @property
    def today(self) -> date:
        """The day by the ledger's clock, UTC: what days left are counted from."""
        return self._clock().astimezone(UTC).date()

    def events(self) -> list[Event]:
        """All events, oldest first."""
        return self._database.read(lambda connection: list(journal.all_events(connection)))

    def verify_chain(self) -> Head:
        """Check every event and both heads; return the head, which stands for the whole ledger.

        Raises:
            ExpungeError: an event was changed, removed or inserted, and the first broken one is named; or the end was
                cut off or rolled back.
        """

        def step(connection: sa.Connection) -> Head:
            # One event at a time: an unreadable one must not hide a changed one before it.
            check_chain(journal.all_events(connection))
            return self._heads.check(connection, journal.tail(connection), partial(journal.hash_at, connection))

        return self._database.read(step)

    def restore(self, events: Iterable[Event], by: str) -> Head:
        """Append events as they are to an empty ledger, or none; seal it again in the name of `by`.

        For a ledger that was lost or whose head was: what seals it from now on is the chain of its events alone.

        Raises:
            ExpungeError: the events are no whole chain, or the ledger has other events already.
        """
        one_line(by, "The name of who decides")
        added = list(events)

        def step(connection: sa.Connection) -> Head:
            journal.create(connection)
            if added and journal.tail(connection) is not None:
                raise ExpungeError("The ledger is not empty; move it away before another is restored.")
            for event in added:
                journal.append(connection, event)
            check_chain(journal.all_events(connection))
            tail = journal.tail(connection)
            known = self._heads.kept_sealings(connection)
            sealing = Sealing(at=iso_seconds(self._clock()), by=by, seq=tail.seq if tail else 0)
            head = Head.at(tail, (*known, sealing))
            self._heads.put_inside(connection, head)
            return head

        head = self._database.write(step)
        self._heads.put_outside(head, again=True)
        return head

    def _write(self, step: Step[Result]) -> Result:
        """Run `step`, which appends after the tail that it is given, and move both heads along."""

        def sealed(connection: sa.Connection) -> tuple[Result, Head | None]:
            # The tail comes first: whatever another writer appends after this moment makes our own append fail, so
            # the records that are read in the step cannot be out of date.
            tail = journal.tail(connection)
            try:
                head = self._heads.check(connection, tail, partial(journal.hash_at, connection))
            except HeadBroken:
                if journal.tail(connection) != tail:
                    raise Moved from None
                raise
            result, last = step(connection, tail)
            if last is None or last == tail:
                return result, None
            moved = Head.at(last, head.sealings)
            self._heads.put_inside(connection, moved)
            return result, moved

        result, moved = self._database.write(sealed)
        if moved:
            self._put_outside(moved)
        return result

    def _put_outside(self, head: Head) -> None:
        try:
            self._heads.put_outside(head)
        except HeadBroken:
            raise
        except ExpungeError as error:
            raise ExpungeError(
                f"It was recorded, but the ledger's head beside the database could not follow. {error} "
                "Look at `expunge request list` before you try again."
            ) from error

    def _is_started(self, connection: sa.Connection) -> bool:
        return journal.exists(connection) and self._heads.inside(connection) is not None

    def _start(self, params: LedgerParams) -> None:
        """Begin an empty ledger or one from the seed; one that has lost its head stays as it is."""
        seed = self._root / params.seed if params.seed else None

        def step(connection: sa.Connection) -> Head | None:
            if self._is_started(connection) or (journal.exists(connection) and journal.tail(connection)):
                return None
            if origin.is_used(self._root):
                raise origin.lost(params, self._root)
            # First, and for an empty ledger: a kill before the commit must leave nothing that looks like a loss.
            self._heads.put_outside(Head.at(None))
            journal.create(connection)
            journal.plant(connection, seed)
            head = Head.at(journal.tail(connection))
            self._heads.put_inside(connection, head)
            return head

        if (head := self._database.write(step)) is not None:
            self._put_outside(head)

    def _append(
        self, connection: sa.Connection, tail: Event | None, request_id: str, kind: State, by: str, payload: dict
    ) -> Event:
        one_line(by, "The name of who decides")
        one_line(str(payload.get("reason", "")), "The reason")
        at = iso_seconds(self._clock())
        event = Event.after(tail, request_id=request_id, kind=kind, at=at, by=by, payload=payload)
        journal.append(connection, event)
        return event
