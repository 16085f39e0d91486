"""The table of events: what the ledger reads and appends inside a transaction.

Nothing here changes or removes an event.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from pydantic import ValidationError

from expunge.project.errors import ExpungeError
from expunge.project.files import canonical_json
from expunge.requests.events import Event, Record, check_chain, number_of, numbered
from expunge.requests.head import METADATA

FEW = 8
"""So many references are looked up by their text; more, by reading every event that has one."""

EVENTS = sa.Table(
    "events",
    METADATA,
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


def exists(connection: sa.Connection) -> bool:
    """Whether the table of events is there."""
    return sa.inspect(connection).has_table(EVENTS.name)


def create(connection: sa.Connection) -> None:
    """Create the tables that are missing."""
    METADATA.create_all(connection)


def plant(connection: sa.Connection, seed: Path | None) -> None:
    """Import the events of the file `seed`, where there is one, into an empty ledger.

    Raises:
        ExpungeError: the seed does not hold a whole chain of events.
    """
    for event in read_seed(seed) if seed and seed.is_file() else ():
        append(connection, event)


def append(connection: sa.Connection, event: Event) -> None:
    """Write one event, sealed by `Event.after`."""
    connection.execute(EVENTS.insert(), _row(event))


def all_events(connection: sa.Connection) -> Iterator[Event]:
    """Every event, oldest first."""
    for row in connection.execute(sa.select(EVENTS).order_by(EVENTS.c.seq)).mappings():
        yield _event(row)


def tail(connection: sa.Connection) -> Event | None:
    """The last event, None in an empty ledger."""
    query = sa.select(EVENTS).order_by(EVENTS.c.seq.desc()).limit(1)
    row = connection.execute(query).mappings().first()
    return _event(row) if row else None


def hash_at(connection: sa.Connection, seq: int) -> str | None:
    """The hash of the event with number `seq`, None where there is none."""
    return connection.execute(sa.select(EVENTS.c.hash).where(EVENTS.c.seq == seq)).scalar_one_or_none()


def last_number(connection: sa.Connection) -> int:
    """The number of the last request that was received, 0 where there is none."""
    query = sa.select(EVENTS.c.request_id).where(EVENTS.c.kind == "received").order_by(EVENTS.c.seq.desc()).limit(1)
    last = connection.execute(query).scalar_one_or_none()
    return number_of(last) if last else 0


def record(connection: sa.Connection, request_id: str) -> Record:
    """One request.

    Raises:
        ExpungeError: there is no such request.
    """
    query = sa.select(EVENTS).where(EVENTS.c.request_id == request_id).order_by(EVENTS.c.seq)
    events = [_event(row) for row in connection.execute(query).mappings()]
    if not events:
        last = last_number(connection)
        known = f"the ledger's last one is {numbered(last)}" if last else "the ledger is empty"
        raise ExpungeError(f"There is no request {request_id}; {known}.")
    return Record.of(events)


def named(connection: sa.Connection, references: Collection[str]) -> dict[str, str]:
    """Those external references that name a request, each with its id.

    They are looked up in the events, which the chain protects; a table beside them could lose one unnoticed.
    """
    if not references:
        return {}
    spelled = [f'"external_reference":{canonical_json(reference).decode()}' for reference in references]
    if len(spelled) > FEW:
        spelled = ['"external_reference":']
    holds = sa.or_(*(EVENTS.c.payload.contains(text, autoescape=True) for text in spelled))
    query = sa.select(EVENTS.c.request_id, EVENTS.c.payload).where(EVENTS.c.kind == "received", holds)
    # A LIKE does not mind case, and the words may stand in a note.
    found = {json.loads(payload).get("external_reference"): name for name, payload in connection.execute(query)}
    return {reference: found[reference] for reference in references if reference in found}


def read_seed(path: Path) -> list[Event]:
    """The events of a seed file.

    Raises:
        ExpungeError: it does not hold a whole chain of events.
    """
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
