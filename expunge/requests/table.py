"""The table of events: what the ledger reads and appends inside a transaction.

Nothing here changes or removes an event.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from expunge.project.errors import ExpungeError
from expunge.project.files import canonical_json
from expunge.requests.events import Event, Record, check_chain, numbered

_TABLES = sa.MetaData()
EVENTS = sa.Table(
    "events",
    _TABLES,
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
REFERENCES = sa.Table(
    "external_references",
    _TABLES,
    # Only a quicker way to the events, which alone are the record.
    sa.Column("reference", sa.String(500), primary_key=True),
    sa.Column("request_id", sa.String(32), nullable=False),
)


def is_started(connection: sa.Connection) -> bool:
    """Whether the tables are there and hold anything."""
    tables = set(sa.inspect(connection).get_table_names())
    return tables.issuperset(_TABLES.tables) and tail(connection) is not None


def start(connection: sa.Connection, seed: Path | None) -> None:
    """Create what is missing; import the events of the file `seed` into an empty ledger.

    Raises:
        ExpungeError: the seed does not hold a whole chain of events.
    """
    _TABLES.create_all(connection)
    if seed is None or not seed.is_file() or tail(connection) is not None:
        return
    for event in _read_seed(seed):
        append(connection, event)


def append(connection: sa.Connection, event: Event) -> None:
    """Write one event, sealed by `Event.after`."""
    connection.execute(EVENTS.insert(), _row(event))
    if event.kind == "received" and (reference := event.payload.get("external_reference")):
        connection.execute(REFERENCES.insert(), {"reference": reference, "request_id": event.request_id})


def all_events(connection: sa.Connection) -> Iterator[Event]:
    """Every event, oldest first."""
    for row in connection.execute(sa.select(EVENTS).order_by(EVENTS.c.seq)).mappings():
        yield _event(row)


def tail(connection: sa.Connection) -> Event | None:
    """The last event, None in an empty ledger."""
    query = sa.select(EVENTS).order_by(EVENTS.c.seq.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return _event(row) if row else None


def count_requests(connection: sa.Connection) -> int:
    """How many requests were ever received."""
    query = sa.select(sa.func.count()).select_from(EVENTS).where(EVENTS.c.kind == "received")
    return connection.execute(query).scalar_one()


def record(connection: sa.Connection, request_id: str) -> Record:
    """One request.

    Raises:
        ExpungeError: there is no such request.
    """
    query = sa.select(EVENTS).where(EVENTS.c.request_id == request_id).order_by(EVENTS.c.seq)
    events = [_event(row) for row in connection.execute(query).mappings()]
    if not events:
        count = count_requests(connection)
        known = f"the ledger holds {numbered(1)} to {numbered(count)}" if count else "the ledger is empty"
        raise ExpungeError(f"There is no request {request_id}; {known}.")
    return Record.of(events)


def request_named(connection: sa.Connection, reference: str) -> str | None:
    """The id of the request with this external reference, None where there is none."""
    query = sa.select(REFERENCES.c.request_id).where(REFERENCES.c.reference == reference)
    return connection.execute(query).scalar_one_or_none()


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


def _row(event: Event) -> dict[str, Any]:
    return {**event.model_dump(), "payload": canonical_json(event.payload).decode()}


def _event(row: sa.RowMapping) -> Event:
    try:
        return Event.model_validate({**row, "payload": json.loads(row["payload"])})
    except (ValidationError, ValueError, TypeError):
        raise ExpungeError(
            f"The ledger is broken at event {row['seq']}: it is not readable. Restore the ledger from a backup."
        ) from None
