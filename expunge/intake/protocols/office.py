"""What the protocols share: an accepted request is in the ledger and in the book before its sender hears of it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Literal

from expunge.intake.desk import Desk
from expunge.intake.protocols.book import Book, Entry
from expunge.intake.protocols.identities import Identity, samples_of, subjects_named
from expunge.intake.settings import ServeParams
from expunge.project.clock import utc_now
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.requests.events import Record
from expunge.requests.keys import keyed_digest, subject_digests
from expunge.requests.request import Basis

NO_MATCH = "No sample of this subject is in the catalog."
FORGOTTEN = "Every sample of this subject was forgotten by an earlier release."

Progress = Literal["waiting", "working", "done", "no_match", "refused", "withdrawn"]
"""How far a request has come, in the words that all three protocols can say."""


class SenderRefused(Exception):
    """A sender's message that is not accepted.

    Attributes:
        status: of HTTP.
        code: the protocol's own number for the reason, where it has one.
    """

    def __init__(self, status: int, message: str, code: int = 0) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


@dataclass(frozen=True)
class Reply:
    """An answer over HTTP: its body is JSON."""

    status: int
    body: bytes
    headers: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Asked:
    """A request that its protocol has found to be genuine.

    Attributes:
        number: its name in the protocol.
        callbacks: URLs to be told of every change.
    """

    protocol: str
    sender: str
    number: str
    identities: tuple[Identity, ...]
    basis: Basis
    due: date | None = None
    callbacks: tuple[str, ...] = ()
    agent_number: str | None = None
    version: str = ""


class Office:
    """Records requests and says how far they have come.

    Args:
        now: the clock, which tests set.
    """

    def __init__(self, paths: Paths, params: ServeParams, now: Callable[[], datetime] = utc_now) -> None:
        self.paths = paths
        self.params = params
        self.now = now
        self.book = Book(paths.protocols / "book.db")
        self._lock = threading.Lock()
        self._opened: tuple[tuple[int, ...], Desk] | None = None

    @property
    def desk(self) -> Desk:
        """The clerk's desk; opened anew when the catalog or the newest release is another."""
        catalog = self.paths.catalog / "catalog.json"
        stamp = tuple(os.stat(path).st_mtime_ns for path in (catalog, self.paths.live) if path.exists())
        if self._opened is None or self._opened[0] != stamp:
            self._opened = (stamp, Desk(self.paths))
        return self._opened[1]

    def accept(self, asked: Asked) -> Entry:
        """Record a request; when this returns, it is on the disk.

        One that names nobody in the catalog is recorded and rejected at once with that reason, so that the answer to
        every request can be proved.

        Raises:
            SenderRefused: the request is known already, so this one is a repetition.
            ExpungeError: the ledger or the catalog is in trouble; nothing was acknowledged.
        """
        with self._lock:
            if self.book.find(asked.protocol, asked.number):
                raise SenderRefused(409, "This request was received before; ask for its status instead.")
            desk = self.desk
            digest = subject_digests(self.paths.root)
            named = subjects_named(self.paths, desk.catalog, asked.identities, self.params.subject_id_is)
            samples = samples_of(desk.catalog, named, digest)
            first = asked.identities[0]
            # Of a stranger, what stands for them is what would be their subject's digest.
            digests = named or {digest(one.normal) for one in asked.identities}
            request = desk.ledger.add(
                [{"kind": "hashed-subject", "digests": sorted(digests)}],
                asked.basis,
                requester=first.normal,
                # Since the request was read a day may have ended, and nothing is due before it was received.
                due=max(asked.due, desk.ledger.today) if asked.due else None,
                reference=f"{asked.protocol}:{asked.sender}:{asked.number}",
                by=f"{asked.sender} ({asked.protocol})",
            )
            # A process that died before the next lines is completed by the sender's second attempt.
            if desk.ledger.get(request.request_id).state == "received":
                if not samples:
                    desk.ledger.reject(request.request_id, "expunge", NO_MATCH)
                elif set(samples) <= desk.forgotten:
                    desk.ledger.reject(request.request_id, "expunge", FORGOTTEN)
            entry = Entry(
                asked.protocol, asked.sender, asked.number, request.request_id, asked.agent_number, asked.version
            )
            self.book.add(entry, asked.callbacks, told=self.progress(self.record(entry)))
            return entry

    def find(self, protocol: str, sender: str, number: str) -> Entry:
        """The request that its own sender asks about.

        Raises:
            SenderRefused: there is none of that name (404), or another sender's (403).
        """
        entry = self.book.find(protocol, number)
        if entry is None:
            raise SenderRefused(404, "There is no request of that name.")
        if entry.sender != sender:
            raise SenderRefused(403, "That request is another sender's.")
        return entry

    def record(self, entry: Entry) -> Record:
        """The request's record in the ledger."""
        return self.desk.ledger.get(entry.request_id)

    def progress(self, record: Record) -> Progress:
        """How far a request has come."""
        state = record.state
        if state == "rejected":
            reason = record.events[-1].payload["reason"]
            return {NO_MATCH: "no_match", FORGOTTEN: "done"}.get(reason, "refused")  # type: ignore[return-value]
        if state == "released":
            return "done" if self.params.fulfilled == "released" else "working"
        words: dict[str, Progress] = {
            "withdrawn": "withdrawn",
            "approved": "working",
            "purged": "done",
            "verified": "done",
        }
        return words.get(state, "waiting")

    def withdraw(self, entry: Entry, while_in: Sequence[Progress]) -> None:
        """Withdraw a request on its sender's word; one that is withdrawn already stays so.

        Raises:
            SenderRefused: it has come further than `while_in`.
        """
        with self._lock:
            progress = self.progress(self.record(entry))
            if progress == "withdrawn":
                return
            if progress not in while_in:
                raise SenderRefused(400, "It is too late to cancel this request.")
            try:
                self.desk.ledger.withdraw(entry.request_id, f"{entry.sender} ({entry.protocol})", "Its sender asked.")
            except ExpungeError:
                # A release came first.
                raise SenderRefused(400, "It is too late to cancel this request.") from None

    def checked_callbacks(self, urls: Sequence[object], origins: Sequence[str]) -> tuple[str, ...]:
        """Callback URLs that lead to one of the sender's own `origins`.

        Raises:
            SenderRefused: one of them leads elsewhere: by it, this machine could be made to call any other.
        """
        found = []
        for url in urls:
            if not isinstance(url, str) or len(url) > 500 or not any(url.startswith(f"{one}/") for one in origins):
                raise SenderRefused(400, "A callback URL does not lead to an origin that is registered for the sender.")
            found.append(url)
        return tuple(dict.fromkeys(found))

    def secret(self, purpose: str, value: object) -> str:
        """A keyed digest for `purpose`."""
        return keyed_digest(self.paths.root, purpose, value)
