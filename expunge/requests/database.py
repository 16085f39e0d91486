"""Connections to the ledger's database: durable when they return, one writer at a time, and in plain words when not.

SQLite and PostgreSQL queue their writers. On any other database two writers may read the same tail of the ledger;
its unique columns then let only one of them append, and the other tries again.
"""

from __future__ import annotations

import contextlib
import random
import sqlite3
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar, cast

import sqlalchemy as sa

from expunge.project.errors import ExpungeError

BUSY_SECONDS = 30
ATTEMPTS = 100
WRITER = 0x6578_7075_6E67_65
"""The advisory lock that PostgreSQL's writers queue for: `expunge` in ASCII."""

Result = TypeVar("Result")


class Moved(Exception):
    """Another writer appended while a step was reading: the step is to be run again."""


class Database:
    """Where the ledger lies.

    Raises:
        ExpungeError: every method, when the database is busy, full, unwritable or damaged.
    """

    def __init__(self, url: str, root: Path) -> None:
        self.engine = _engine(url, root)

    def read(self, step: Callable[[sa.Connection], Result]) -> Result:
        """Run `step` in a transaction."""
        with self._plain_errors(), self.engine.begin() as connection:
            return step(connection)

    def write(self, step: Callable[[sa.Connection], Result]) -> Result:
        """Run `step` in a transaction that no other writer interrupts; again, where another was first."""
        writer = self.engine.execution_options(immediate=True)
        with self._plain_errors():
            for attempt in range(ATTEMPTS):
                try:
                    with writer.begin() as connection:
                        return step(connection)
                except (sa.exc.IntegrityError, sa.exc.ProgrammingError, Moved):
                    # The event number was taken meanwhile, or (ProgrammingError) the table was created meanwhile.
                    if attempt == ATTEMPTS - 1:
                        raise
                    time.sleep(random.uniform(0, 0.02))
        raise AssertionError("unreachable")

    @contextlib.contextmanager
    def _plain_errors(self) -> Iterator[None]:
        """Say a database's trouble in one sentence."""
        try:
            yield
        except sa.exc.SQLAlchemyError as error:
            # Drivers take passwords in the query too.
            where = self.engine.url.set(query={}).render_as_string(hide_password=True)
            raise ExpungeError(_in_words(error, where)) from error


def _in_words(error: sa.exc.SQLAlchemyError, where: str) -> str:
    cause = str(getattr(error, "orig", None) or error).splitlines()[0]
    if "locked" in cause:
        return f"The ledger {where} is busy: another process keeps it locked. Nothing was recorded; try again."
    if "disk is full" in cause or "No space left" in cause:
        return f"The disk of the ledger {where} is full. Nothing was recorded; free some space and try again."
    if getattr(error, "connection_invalidated", False):
        # It may have broken after the commit was sent.
        return f"The connection to the ledger {where} broke. Look at `expunge request list` before you try again."
    return f"The ledger {where} cannot be used: {cause}. Nothing was recorded."


def _engine(url: str, root: Path) -> sa.Engine:
    try:
        address = sa.make_url(url)
        if address.get_backend_name() == "sqlite":
            return _sqlite_engine(address, root)
        if address.drivername in ("postgres", "postgresql"):
            address = address.set(drivername="postgresql+psycopg")
        if address.get_backend_name() == "postgresql":
            return _postgresql_engine(address)
        return sa.create_engine(address, poolclass=sa.NullPool)
    except ModuleNotFoundError as error:
        raise ExpungeError(f"The ledger's database needs the Python package {error.name}; install it.") from None
    except (sa.exc.ArgumentError, sa.exc.NoSuchModuleError) as error:
        # The URL may hold a password, so it is not repeated.
        raise ExpungeError(
            f"params.yaml: ledger.url is not a database URL that can be used ({type(error).__name__})."
        ) from None


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
        if _writes(connection):
            _queue(connection)
        else:
            connection.exec_driver_sql("BEGIN")

    return engine


def _queue(connection: sa.Connection) -> None:
    """Begin as the only writer; give up when for `BUSY_SECONDS` nobody else has come to an end either.

    SQLite's own waiting sleeps ever longer, up to 0.1 s, so that a busy writer takes the lock again before one who
    waits looks, and it gives up on a ledger that is merely much used. Here all look often and at random.
    """
    # Past SQLAlchemy, whose way to a refusal takes twenty times as long.
    driver = cast(sqlite3.Connection, connection.connection.driver_connection)
    driver.execute("PRAGMA busy_timeout = 0")
    commits, since = None, time.monotonic()
    while _unless_locked(driver, "BEGIN IMMEDIATE") is None:
        # This number changes whenever another connection commits.
        now = _unless_locked(driver, "PRAGMA data_version")
        if now is not None and now != commits:
            commits, since = now, time.monotonic()
        if time.monotonic() > since + BUSY_SECONDS:
            connection.exec_driver_sql("BEGIN IMMEDIATE")
            break
        time.sleep(random.uniform(0, 0.01))
    driver.execute(f"PRAGMA busy_timeout = {int(BUSY_SECONDS * 1000)}")


def _unless_locked(driver: sqlite3.Connection, statement: str) -> list[tuple] | None:
    """The rows that a statement gives, None where the database is locked."""
    try:
        return driver.execute(statement).fetchall()
    except sqlite3.OperationalError as error:
        if "locked" in str(error):
            return None
        raise sa.exc.OperationalError(statement, None, error) from error


def _postgresql_engine(address: sa.URL) -> sa.Engine:
    # Each statement sees what was committed before it: also what the writer before us in the queue has appended.
    engine = sa.create_engine(address, poolclass=sa.NullPool, isolation_level="READ COMMITTED")

    @sa.event.listens_for(engine, "begin")
    def _begin(connection: sa.Connection) -> None:
        if _writes(connection):
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({WRITER})")
            # A server may be set up to acknowledge before it has written: not for a deletion request.
            if connection.exec_driver_sql("SHOW synchronous_commit").scalar_one() == "off":
                connection.exec_driver_sql("SET LOCAL synchronous_commit = on")

    return engine


def _writes(connection: sa.Connection) -> bool:
    return connection.get_execution_options().get("immediate", False)
