"""What the service remembers of each request beside the ledger: who sent it, under which name, and whom to call back.

An SQLite file of this machine, written through to the disk. It holds no identity of a person; lost, it costs callbacks
and the senders' view of a request's status, and never a request.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path

_TABLES = """
CREATE TABLE IF NOT EXISTS entries (
    protocol TEXT NOT NULL, sender TEXT NOT NULL, number TEXT NOT NULL, request_id TEXT NOT NULL,
    agent_number TEXT, version TEXT NOT NULL, PRIMARY KEY (protocol, number));
CREATE TABLE IF NOT EXISTS callbacks (
    protocol TEXT NOT NULL, number TEXT NOT NULL, url TEXT NOT NULL, told TEXT NOT NULL,
    attempts INTEGER NOT NULL, not_before REAL NOT NULL, PRIMARY KEY (protocol, number, url));
CREATE TABLE IF NOT EXISTS nonces (nonce TEXT PRIMARY KEY, until REAL NOT NULL);
"""


@dataclass(frozen=True)
class Entry:
    """One request as its sender knows it.

    Attributes:
        number: the request's name in its protocol, unique there.
        request_id: its id in the ledger.
        agent_number: a second name that a sender gave it and wants to read in answers.
        version: of the protocol, as the sender speaks it.
    """

    protocol: str
    sender: str
    number: str
    request_id: str
    agent_number: str | None = None
    version: str = ""


@dataclass(frozen=True)
class Callback:
    """Where a sender wants to hear of a request, and the status that was told last."""

    entry: Entry
    url: str
    told: str
    attempts: int
    not_before: float


class Book:
    """The file of what was sent by whom. Safe under concurrent use: every method opens the file anew."""

    def __init__(self, path: Path) -> None:
        self._path = path
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with self._open() as connection:
            connection.executescript(_TABLES)
        path.chmod(0o600)

    def add(self, entry: Entry, urls: Sequence[str], told: str) -> None:
        """Note a request and whom to call back; `told` is the status that its sender learns at once."""
        with self._open() as connection:
            connection.execute(
                "INSERT OR IGNORE INTO entries VALUES (?, ?, ?, ?, ?, ?)",
                (entry.protocol, entry.sender, entry.number, entry.request_id, entry.agent_number, entry.version),
            )
            connection.executemany(
                "INSERT OR IGNORE INTO callbacks VALUES (?, ?, ?, ?, 0, 0)",
                [(entry.protocol, entry.number, url, told) for url in urls],
            )

    def find(self, protocol: str, number: str) -> Entry | None:
        """The request of this name, None where there is none."""
        with self._open() as connection:
            query = "SELECT protocol, sender, number, request_id, agent_number, version FROM entries"
            row = connection.execute(f"{query} WHERE protocol = ? AND number = ?", (protocol, number)).fetchone()
        return Entry(*row) if row else None

    def callbacks(self) -> list[Callback]:
        """All of them."""
        query = (
            "SELECT e.protocol, e.sender, e.number, e.request_id, e.agent_number, e.version, c.url, c.told, c.attempts,"
            " c.not_before FROM callbacks c JOIN entries e ON e.protocol = c.protocol AND e.number = c.number"
        )
        with self._open() as connection:
            return [Callback(Entry(*row[:6]), *row[6:]) for row in connection.execute(query)]

    def called(self, callback: Callback, told: str, attempts: int, not_before: float) -> None:
        """Note the outcome of a call: what the sender knows now, failed calls in a row, and when to call again."""
        with self._open() as connection:
            connection.execute(
                "UPDATE callbacks SET told = ?, attempts = ?, not_before = ?"
                " WHERE protocol = ? AND number = ? AND url = ?",
                (told, attempts, not_before, callback.entry.protocol, callback.entry.number, callback.url),
            )

    def use_once(self, nonce: str, until: float, now: float) -> bool:
        """Whether `nonce` was not seen before; it is remembered `until` then (seconds since 1970)."""
        with self._open() as connection:
            connection.execute("DELETE FROM nonces WHERE until < ?", (now,))
            return connection.execute("INSERT OR IGNORE INTO nonces VALUES (?, ?)", (nonce, until)).rowcount == 1

    @contextmanager
    def _open(self) -> Iterator[sqlite3.Connection]:
        with closing(sqlite3.connect(self._path, timeout=30)) as connection, connection:
            connection.execute("PRAGMA synchronous = FULL")
            yield connection
