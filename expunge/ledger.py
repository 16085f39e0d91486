"""The ledger that never loses a request: append-only, durable before acknowledged, safe under concurrent writers.

SQLite by default; any other database by its SQLAlchemy URL.
"""

from __future__ import annotations

import contextlib
import json
import random
import sqlite3
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any, TypeVar

import sqlalchemy as sa
from pydantic import ValidationError

from expunge.config import LedgerParams
from expunge.errors import ExpungeError
from expunge.events import FORWARD, Event, Record, State, check_chain, checked_content, numbered
from expunge.files import canonical_json
from expunge.requests import (
    Basis,
    DeletionRequest,
    Selector,
    iso_seconds,
    login_name,
    month_after,
    requester_digest,
    utc_now,
)

BUSY_SECONDS = 30
ATTEMPTS = 100


Result = TypeVar("Result")


_EVENTS = sa.Table(
    "events",
    sa.MetaData(),
    # Both unique: where two writers read the same tail, the database lets only one of them append.
    sa.Column("seq", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("request_id", sa.String(32), nullable=False, index=True),
    sa.Column("kind", sa.String(16), nullable=False),
    sa.Column("at", sa.String(20), nullable=False),
    sa.Column("by", sa.Text, nullable=False),
    sa.Column("payload", sa.Text, nullable=False),
    sa.Column("previous", sa.String(64), nullable=False, unique=True),
    sa.Column("hash", sa.String(64), nullable=False, unique=True),
)


class Ledger:
    """The durable, hash-chained record of all deletion requests. Every method is one transaction.

    Raises:
        ExpungeError: every method, when the database is busy, full, unwritable or damaged.
    """

    def __init__(self, engine: sa.Engine, root: Path, clock: Callable[[], datetime]) -> None:
        self._engine = engine
        self._root = root
        self._clock = clock

    @classmethod
    def open(cls, params: LedgerParams, root: Path, clock: Callable[[], datetime] = utc_now) -> Ledger:
        """Open the ledger at `params.url`, a relative SQLite path being relative to `root`.

        A ledger without events starts from those of the file `params.seed`, all of them or none.
        """
        ledger = cls(_engine(params.url, root), root, clock)
        if not ledger._read(_has_events):
            ledger._write(lambda connection: _start(connection, root / params.seed if params.seed else None))
        return ledger

    def add(
        self,
        selectors: Sequence[Selector | Mapping[str, Any]],
        basis: Basis,
        *,
        requester: str | None = None,
        due: date | None = None,
        note: str | None = None,
        by: str | None = None,
    ) -> DeletionRequest:
        """Record a new request under the next id; when this returns, it is on the disk.

        Args:
            requester: who asks; only a keyed digest is kept.
            due: one month after receipt by default.
            by: who records it; the login name by default.

        Raises:
            ExpungeError: a selector or another value is not valid.
        """
        by = by or login_name()
        digest = requester_digest(requester, self._root) if requester else None

        def step(connection: sa.Connection) -> DeletionRequest:
            tail = _tail(connection)
            now = self._clock().astimezone(UTC)
            content = {
                "request_id": numbered(_count_requests(connection) + 1),
                "selectors": list(selectors),
                "basis": basis,
                "requester_digest": digest,
                "received_at": iso_seconds(now),
                "due": due or month_after(now.date()),
                "note": note,
            }
            request = checked_content(DeletionRequest, content)
            self._append(connection, tail, request.request_id, "received", by, request.model_dump(mode="json"))
            return request

        return self._write(step)

    def get(self, request_id: str) -> Record:
        """One request.

        Raises:
            ExpungeError: there is no such request.
        """
        return self._read(lambda connection: _record(connection, request_id))

    def history(self, request_id: str) -> list[Event]:
        """The events of one request, oldest first."""
        return list(self.get(request_id).events)

    def list(self, state: State | None = None) -> list[Record]:
        """All requests by number, or those in `state`."""
        stories: dict[str, list[Event]] = {}
        for event in self._events():
            stories.setdefault(event.request_id, []).append(event)
        records = (Record.of(events) for events in stories.values())
        return [record for record in records if state in (None, record.state)]

    def approved_unserved(self) -> list[DeletionRequest]:
        """The approved requests that no release serves yet, by number.

        Raises:
            ExpungeError: a request is no longer what was approved.
        """
        waiting = self.list("approved")
        for record in waiting:
            if record.request.digest != record.approved_digest:
                raise ExpungeError(f"{record.request.request_id} is not what was approved; the ledger was changed.")
        return [record.request for record in waiting]

    def record_preview(self, request_id: str, counts: Mapping[str, Any], by: str | None = None) -> None:
        """Note that somebody saw what the request selects; `counts` must not hold content.

        Nothing is recorded when the request is already decided or the same preview was the last event.
        """

        def unless_seen(record: Record) -> bool:
            seen = record.state == "previewed" and record.events[-1].payload == dict(counts)
            return record.state in FORWARD["previewed"] and not seen

        self._advance([request_id], "previewed", by or login_name(), lambda _: dict(counts), unless_seen)

    def approve(self, request_id: str, by: str | None = None) -> None:
        """Approve the request with its present content.

        Raises:
            ExpungeError: it is decided already.
        """
        self._advance([request_id], "approved", by or login_name(), lambda record: {"digest": record.request.digest})

    def reject(self, request_id: str, by: str | None = None, reason: str = "") -> None:
        """Reject the request for `reason`.

        Raises:
            ExpungeError: it is decided already, or there is no reason.
        """
        if not reason.strip():
            raise ExpungeError("Say why the request is rejected: --reason TEXT.")
        self._advance([request_id], "rejected", by or login_name(), lambda _: {"reason": reason.strip()})

    def mark_released(self, request_ids: Iterable[str], release: str, model_digest: str, by: str = "expunge") -> None:
        """Note that `release`, whose model has `model_digest`, serves the requests: all of them or none.

        Recording the same again does nothing.

        Raises:
            ExpungeError: a request is not approved.
        """
        payload = {"release": release, "model_digest": model_digest}

        def unless_known(record: Record) -> bool:
            return (record.release, record.model_digest) != (release, model_digest)

        self._advance(sorted(set(request_ids)), "released", by, lambda _: payload, unless_known)

    def verify_chain(self) -> str:
        """Check every event; return the hash of the last one, which stands for the whole ledger.

        Raises:
            ExpungeError: an event was changed, removed or inserted; the first broken one is named.
        """
        # One event at a time: an unreadable one must not hide a changed one before it.
        return self._read(lambda connection: check_chain(_all_events(connection)))

    def export_events(self) -> list[dict[str, Any]]:
        """All events as JSON-serialisable values, oldest first: the lines of a seed file."""
        return [event.model_dump() for event in self._events()]

    def _advance(
        self,
        request_ids: Sequence[str],
        kind: State,
        by: str,
        payload: Callable[[Record], dict[str, Any]],
        wanted: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        """Append one event of `kind` to each request for which it is `wanted`, in one transaction."""

        def step(connection: sa.Connection) -> None:
            # The tail comes first: whatever another writer appends after this moment makes our own append fail, so
            # the records that are read below cannot be out of date.
            tail = _tail(connection)
            for request_id in request_ids:
                record = _record(connection, request_id)
                if not wanted(record):
                    continue
                if record.state not in FORWARD[kind]:
                    allowed = " or ".join(FORWARD[kind])
                    raise ExpungeError(f"{request_id} is {record.state}; only {allowed} requests can be {kind}.")
                tail = self._append(connection, tail, request_id, kind, by, payload(record))

        self._write(step)

    def _append(
        self, connection: sa.Connection, tail: Event | None, request_id: str, kind: State, by: str, payload: dict
    ) -> Event:
        at = iso_seconds(self._clock())
        event = Event.after(tail, request_id=request_id, kind=kind, at=at, by=by, payload=payload)
        connection.execute(_EVENTS.insert(), _row(event))
        return event

    def _events(self) -> list[Event]:
        return self._read(lambda connection: list(_all_events(connection)))

    def _read(self, step: Callable[[sa.Connection], Result]) -> Result:
        with _plain_errors(self._engine), self._engine.begin() as connection:
            return step(connection)

    def _write(self, step: Callable[[sa.Connection], Result]) -> Result:
        """Run `step` in a transaction of its own; again, when another writer was first."""
        writer = self._engine.execution_options(immediate=True)
        with _plain_errors(self._engine):
            for attempt in range(ATTEMPTS):
                try:
                    with writer.begin() as connection:
                        return step(connection)
                except (sa.exc.IntegrityError, sa.exc.ProgrammingError):
                    # SQLite never comes here, for BEGIN IMMEDIATE admits one writer at a time. Elsewhere the event
                    # number was taken meanwhile, or (ProgrammingError) the table was created meanwhile.
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(random.uniform(0, 0.02))
        raise AssertionError("unreachable")


def _engine(url: str, root: Path) -> sa.Engine:
    """An engine whose transactions are durable when they return and, on SQLite, one writer at a time."""
    try:
        address = sa.make_url(url)
        if address.get_backend_name() == "sqlite":
            return _sqlite_engine(address, root)
        return sa.create_engine(address, poolclass=sa.NullPool)
    except ModuleNotFoundError as error:
        raise ExpungeError(f"The ledger's database needs the Python package {error.name}; install it.") from None
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        # The URL may hold a password, so it is not repeated.
        raise ExpungeError(f"params.yaml: ledger.url is no usable database URL ({type(error).__name__}).") from None


def _sqlite_engine(address: sa.URL, root: Path) -> sa.Engine:
    if not address.database or address.database == ":memory:":
        raise ExpungeError("params.yaml: ledger.url names a database in memory, which would lose every request.")
    path = root / address.database
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise ExpungeError(f"The ledger's folder {path.parent} cannot be created: {error.strerror}.") from error
    engine = sa.create_engine(
        address.set(database=str(path)), poolclass=sa.NullPool, connect_args={"timeout": BUSY_SECONDS}
    )

    @sa.event.listens_for(engine, "connect")
    def _configure(connection: sqlite3.Connection, _: Any) -> None:
        # The driver must not begin transactions by itself; `_begin` does.
        connection.isolation_level = None
        # FULL, and the folder is synced too when the rollback journal goes: a commit survives a power cut.
        connection.execute("PRAGMA synchronous=EXTRA")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        immediate = connection.get_execution_options().get("immediate", False)
        connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")

    return engine


@contextlib.contextmanager
def _plain_errors(engine: sa.Engine) -> Iterator[None]:
    """Say a database's trouble in one sentence."""
    try:
        yield
    except sa.exc.SQLAlchemyError as error:
        where = engine.url.render_as_string(hide_password=True)
        cause = str(getattr(error, "orig", None) or error).splitlines()[0]
        if "locked" in cause:
            message = f"The ledger {where} is busy: another process keeps it locked. Nothing was recorded; try again."
        elif "disk is full" in cause or "No space left" in cause:
            message = f"The disk of the ledger {where} is full. Nothing was recorded; free some space and try again."
        else:
            message = f"The ledger {where} cannot be used: {cause}. Nothing was recorded."
        raise ExpungeError(message) from error


def _has_events(connection: sa.Connection) -> bool:
    return sa.inspect(connection).has_table(_EVENTS.name) and _tail(connection) is not None


def _start(connection: sa.Connection, seed: Path | None) -> None:
    """Create the table and import the seed, unless another process has just done so."""
    _EVENTS.metadata.create_all(connection)
    if seed is None or not seed.is_file() or _tail(connection) is not None:
        return
    events = _read_seed(seed)
    if events:
        connection.execute(_EVENTS.insert(), [_row(event) for event in events])


def _read_seed(path: Path) -> list[Event]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        events = [Event.model_validate_json(line) for line in lines if line.strip()]
        check_chain(events)
    except (OSError, UnicodeDecodeError, ValidationError) as error:
        raise ExpungeError(f"{path} does not hold one event a line ({type(error).__name__}); restore it.") from None
    except ExpungeError as error:
        raise ExpungeError(f"{path}: {error}") from None
    return events


def _all_events(connection: sa.Connection) -> Iterator[Event]:
    for row in connection.execute(sa.select(_EVENTS).order_by(_EVENTS.c.seq)).mappings():
        yield _event(row)


def _tail(connection: sa.Connection) -> Event | None:
    query = sa.select(_EVENTS).order_by(_EVENTS.c.seq.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return _event(row) if row else None


def _count_requests(connection: sa.Connection) -> int:
    query = sa.select(sa.func.count()).select_from(_EVENTS).where(_EVENTS.c.kind == "received")
    return connection.execute(query).scalar_one()


def _record(connection: sa.Connection, request_id: str) -> Record:
    query = sa.select(_EVENTS).where(_EVENTS.c.request_id == request_id).order_by(_EVENTS.c.seq)
    events = [_event(row) for row in connection.execute(query).mappings()]
    if not events:
        count = _count_requests(connection)
        known = f"the ledger holds {numbered(1)} to {numbered(count)}" if count else "the ledger is empty"
        raise ExpungeError(f"There is no request {request_id}; {known}.")
    return Record.of(events)


def _row(event: Event) -> dict[str, Any]:
    return {**event.model_dump(), "payload": canonical_json(event.payload).decode()}


def _event(row: Mapping[str, Any]) -> Event:
    try:
        return Event(**{**row, "payload": json.loads(row["payload"])})
    except (ValidationError, ValueError, TypeError):
        raise ExpungeError(
            f"The ledger is broken at event {row['seq']}: it is not readable. Restore the ledger from a backup."
        ) from None
