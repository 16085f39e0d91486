"""Deletion requests and the ledger that never loses one.

A request holds selectors and a legal basis; of the person who asked it holds a keyed digest, never their words. The
ledger is an append-only list of events, each chained to the one before by its hash. What state a request is in is read
off its events, so the state can only move forward:

    received → previewed → approved → released
                         ↘ rejected
"""

from __future__ import annotations

import calendar
import contextlib
import getpass
import hmac
import json
import os
import random
import secrets
import sqlite3
import tempfile
import time
import unicodedata
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import sqlalchemy as sa
from pydantic import AfterValidator, Field, StringConstraints, ValidationError, model_validator

from expunge.config import Block, LedgerParams, explain
from expunge.errors import ExpungeError
from expunge.files import canonical_json, digest_of

Basis = Literal["gdpr-art17", "ccpa", "copyright", "safety", "quality"]
State = Literal["received", "previewed", "approved", "rejected", "released"]
"""A request's state is the kind of its last event."""

KEY_VARIABLE = "EXPUNGE_KEY"
KEY_FILE = Path(".expunge") / "key"
BUSY_SECONDS = 30
ATTEMPTS = 100
GENESIS = "0" * 64
"""What the first event names as its predecessor."""

FORWARD: dict[State, tuple[State, ...]] = {
    "previewed": ("received", "previewed"),
    "approved": ("received", "previewed"),
    "rejected": ("received", "previewed"),
    "released": ("approved", "released"),
}
"""Event → the states in which it may happen. A second `released` records that the release was built anew."""

Result = TypeVar("Result")


# --- the request -------------------------------------------------------------------------------------------------


def _showable(text: str) -> str:
    """Refuse what could rewrite the terminal of the person who has to approve the request."""
    for character in text:
        if (unicodedata.category(character) == "Cc" and character not in "\n\t") or (
            unicodedata.bidirectional(character) in ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
        ):
            raise ValueError(f"must not hold the control character U+{ord(character):04X}")
    return text


Name = Annotated[str, StringConstraints(min_length=1, max_length=500), AfterValidator(_showable)]
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
    note: Annotated[str, StringConstraints(max_length=2000), AfterValidator(_showable)] | None = None

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
    path = root / KEY_FILE
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


# --- the events --------------------------------------------------------------------------------------------------


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
        release: the release that serves it, None until there is one.
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
        last = events[-1]
        served = last.payload if last.kind == "released" else {}
        request = _validated(DeletionRequest, events[0].payload)
        return cls(request, last.kind, tuple(events), served.get("release"), served.get("model_digest"))

    @property
    def approved_digest(self) -> str | None:
        """The digest that was approved, None where none was."""
        return next((event.payload.get("digest") for event in self.events if event.kind == "approved"), None)


def check_chain(events: Iterable[Event]) -> str:
    """Check numbers, links, hashes and order of `events`; return the hash of the last one.

    Raises:
        ExpungeError: an event is changed, missing, out of place or not allowed; the first such one is named.
    """
    tail: Event | None = None
    records: dict[str, Record] = {}
    for event in events:
        problem = _link_problem(tail, event) or _story_problem(records, event)
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


def _story_problem(records: dict[str, Record], event: Event) -> str | None:
    """What is wrong with `event` after what its request went through; `records` learns the event."""
    before = records.get(event.request_id)
    if event.kind == "received":
        try:
            record = Record.of([event])
        except ExpungeError as error:
            return f"it holds no valid request ({str(error).rstrip('.')})"
        if before or not event.request_id == record.request.request_id == _request_id(len(records) + 1):
            return "its request id is out of order"
    elif before is None or before.state not in FORWARD[event.kind]:
        return f"a request that is {before.state if before else 'unknown'} cannot be {event.kind}"
    elif event.kind == "approved" and event.payload.get("digest") != before.request.digest:
        return "it approves another content than the request's"
    else:
        record = Record.of([*before.events, event])
    records[event.request_id] = record
    return None


def _request_id(number: int) -> str:
    return f"req-{number:04d}"


def _validated(model: type[Result], content: Mapping[str, Any]) -> Result:
    try:
        return model.model_validate(content)
    except ValidationError as error:
        raise ExpungeError(f"Deletion request: {explain(error)}") from None


# --- the ledger --------------------------------------------------------------------------------------------------

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
                "request_id": _request_id(_count_requests(connection) + 1),
                "selectors": list(selectors),
                "basis": basis,
                "requester_digest": digest,
                "received_at": iso_seconds(now),
                "due": due or month_after(now.date()),
                "note": note,
            }
            request = _validated(DeletionRequest, content)
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
        known = f"the ledger holds {_request_id(1)} to {_request_id(count)}" if count else "the ledger is empty"
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
