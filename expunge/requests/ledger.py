"""The ledger that never loses a request: append-only, durable before acknowledged, safe under concurrent writers.

SQLite by default; any other database by its SQLAlchemy URL. Nothing is appended to a ledger whose end is not the one
that was recorded last: a new event would vouch for what came before it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import UTC, date
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from expunge.project.clock import iso_seconds, month_after
from expunge.project.errors import ExpungeError, RequestRefused
from expunge.requests import table as journal
from expunge.requests.events import FORWARD, Event, Record, State, checked_content, number_of, numbered
from expunge.requests.keys import file_digest, requester_digest
from expunge.requests.log import ChainedLog
from expunge.requests.request import Basis, DeletionRequest, LikeSample, Selector, login_name, one_line

DIGESTED = 8 << 20
"""Bytes of a refused file that its digest covers: more than a file may have that is not refused for its size."""


class Ledger(ChainedLog):
    """The durable, hash-chained record of all deletion requests. Every method is one transaction.

    Raises:
        ExpungeError: every method, when the database is busy, full, unwritable or damaged.
    """

    def add(
        self,
        selectors: Sequence[Selector | Mapping[str, Any]],
        basis: Basis,
        *,
        requester: str | None = None,
        due: date | None = None,
        note: str | None = None,
        reference: str | None = None,
        by: str | None = None,
    ) -> DeletionRequest:
        """Record a new request under the next id; when this returns, it is on the disk.

        Args:
            requester: who asks; only a keyed digest is kept.
            due: one month after receipt by default.
            reference: the sender's own name of the request, unique in the ledger. The request that it names already is
                returned, if it asks for the same (a `due` that is not given counts as the same).
            by: who records it; the login name by default.

        Raises:
            RequestRefused: a selector or another value is not valid, or the reference names another request.
        """
        asked = {
            "selectors": list(selectors),
            "basis": basis,
            "requester_digest": self.digest_requester(requester) if requester else None,
            "due": due,
            "note": note,
            "external_reference": reference,
        }
        return self.add_all([asked], by)[0]

    def add_all(self, asked: Iterable[Mapping[str, Any]], by: str | None = None) -> list[DeletionRequest]:
        """Record several requests, all or none; `asked` holds the fields of `DeletionRequest` that the sender gives.

        Raises:
            RequestRefused: as `add`.
        """
        by = by or login_name()
        contents = list(asked)

        def step(connection: sa.Connection, tail: Event | None) -> tuple[list[DeletionRequest], Event | None]:
            number = journal.last_number(connection)
            references = [content["external_reference"] for content in contents if content.get("external_reference")]
            known = journal.named(connection, references)
            now = self._clock().astimezone(UTC)
            requests: list[DeletionRequest] = []
            for content in contents:
                request = checked_content(
                    DeletionRequest,
                    {**content}
                    | {"request_id": numbered(number + 1), "received_at": iso_seconds(now)}
                    | {"due": content.get("due") or month_after(now.date())},
                )
                reference = request.external_reference
                for what, text in (("The reference", reference), ("The note", request.note)):
                    one_line(text or "", what)
                if reference and reference in known:
                    earlier = journal.record(connection, known[reference]).request
                    requests.append(_same(earlier, request, content.get("due")))
                    continue
                tail = self._append(
                    connection, tail, request.request_id, "received", by, request.model_dump(mode="json")
                )
                number += 1
                requests.append(request)
                known |= {reference: request.request_id} if reference else {}
            return requests, tail

        return self._write(step)

    def adopt(self, request: DeletionRequest, by: str) -> None:
        """Record a request that this ledger has lost, as it is and under its own id, above every id it has.

        Raises:
            ExpungeError: the ledger has a later request already.
        """

        def step(connection: sa.Connection, tail: Event | None) -> tuple[None, Event | None]:
            if number_of(request.request_id) <= journal.last_number(connection):
                raise ExpungeError(f"{request.request_id} has no place in the ledger any more: later ones are in it.")
            content = request.model_dump(mode="json", exclude={"near_duplicates"})
            return None, self._append(connection, tail, request.request_id, "received", by, content)

        self._write(step)

    def digest_requester(self, requester: str) -> str:
        """The keyed digest that this ledger keeps of a requester.

        Raises:
            ExpungeError: the key cannot be read or created.
        """
        return requester_digest(requester, self._root)

    def digest_file(self, path: Path) -> str:
        """The keyed digest of a file's first bytes, which names it without telling what it holds.

        Raises:
            ExpungeError: the key cannot be read or created.
            OSError: the file cannot be read.
        """
        with open(path, "rb") as stream:
            return file_digest(stream.read(DIGESTED), self._root)

    def get(self, request_id: str) -> Record:
        """One request.

        Raises:
            ExpungeError: there is no such request.
        """
        return self._database.read(lambda connection: journal.record(connection, request_id))

    def known_references(self, references: Iterable[str]) -> dict[str, str]:
        """Those external references that name a request already, each with its id."""

        wanted = list(references)
        return self._database.read(lambda connection: journal.named(connection, wanted))

    def history(self, request_id: str) -> list[Event]:
        """The events of one request, oldest first."""
        return list(self.get(request_id).events)

    def records(self, state: State | None = None) -> list[Record]:
        """All requests by number, or those in `state`."""
        stories: dict[str, list[Event]] = {}
        for event in self.events():
            stories.setdefault(event.request_id, []).append(event)
        told = (Record.of(events) for events in stories.values())
        return [record for record in told if state in (None, record.state)]

    def approved_unserved(self) -> list[DeletionRequest]:
        """The approved requests that no release serves yet, by number.

        Raises:
            ExpungeError: a request is no longer what was approved.
        """
        return [_as_approved(record) for record in self.records("approved")]

    def released(self) -> list[DeletionRequest]:
        """The requests that a release has come to serve, purged and verified ones included, by number.

        Raises:
            ExpungeError: a request is no longer what was approved.
        """
        return [_as_approved(record) for record in self.records() if record.release]

    def record_preview(self, request_id: str, counts: Mapping[str, Any], by: str | None = None) -> None:
        """Note that somebody saw what the request selects; `counts` must not hold content.

        Nothing is recorded when the request is already decided or the same preview was the last event.
        """

        def unless_seen(record: Record) -> bool:
            seen = record.state == "previewed" and record.events[-1].payload == dict(counts)
            return record.state in FORWARD["previewed"] and not seen

        self._advance([request_id], "previewed", by or login_name(), lambda _: dict(counts), unless_seen)

    def approve(
        self,
        request_id: str,
        by: str | None = None,
        near_duplicates: Sequence[LikeSample] = (),
        excluded: Sequence[str] = (),
    ) -> None:
        """Approve the request with its present content.

        Args:
            near_duplicates: of what it selects, to be forgotten too.
            excluded: ids of near-duplicates that the approver saw and leaves alone.

        Raises:
            ExpungeError: it is decided already, or by the one who recorded it where the ledger asks for four eyes.
        """
        by = by or login_name()
        decision: dict[str, Any] = {}
        if near_duplicates:
            decision["near_duplicates"] = [one.model_dump(mode="json") for one in near_duplicates]
        if excluded:
            decision["excluded"] = list(excluded)

        def payload(record: Record) -> dict[str, Any]:
            if self._four_eyes and _same_person(by, record.events[0].by):
                raise ExpungeError(
                    f"{request_id} was recorded by {record.events[0].by}; `ledger.four_eyes` asks for an approval by "
                    "somebody else (--by)."
                )
            return {"digest": record.request.digest} | decision

        self._advance([request_id], "approved", by, payload)

    def reject(self, request_id: str, by: str | None = None, reason: str = "") -> None:
        """Reject the request for `reason`.

        Raises:
            ExpungeError: it is decided already, or there is no reason.
        """
        if not reason.strip():
            raise ExpungeError("Say why the request is rejected: --reason TEXT.")
        self._advance([request_id], "rejected", by or login_name(), lambda _: {"reason": reason.strip()})

    def withdraw(self, request_id: str, by: str | None = None, reason: str = "") -> None:
        """Withdraw the request for `reason`, approved or not: no release will serve it.

        Raises:
            ExpungeError: a release serves it already, it is rejected or withdrawn, or there is no reason.
        """
        if not reason.strip():
            raise ExpungeError("Say why the request is withdrawn: --reason TEXT.")
        self._advance([request_id], "withdrawn", by or login_name(), lambda _: {"reason": reason.strip()})

    def mark_released(self, request_ids: Iterable[str], release: str, model_digest: str, by: str = "expunge") -> None:
        """Note that `release`, whose model has `model_digest`, serves the requests: all of them or none.

        Recording the same again does nothing.

        Raises:
            ExpungeError: a request is not approved.
        """
        self._mark("released", request_ids, by, {"release": release, "model_digest": model_digest})

    def mark_purged(self, request_ids: Iterable[str], release: str, by: str, proof: str) -> None:
        """Note that nothing older than `release` holds what the requests made forgotten, by the proof with digest
        `proof`: all of them or none.

        Recording the same again does nothing.

        Raises:
            ExpungeError: a request is not released.
        """
        self._mark("purged", request_ids, by, {"release": release, "proof": proof})

    def mark_verified(self, request_ids: Iterable[str], release: str, by: str, proof: str) -> None:
        """Note that `release` was checked against its certificate, whose digest is `proof`: all requests or none.

        Recording the same again does nothing.

        Raises:
            ExpungeError: a request is not purged.
        """
        self._mark("verified", request_ids, by, {"release": release, "proof": proof})

    def export_events(self) -> list[dict[str, Any]]:
        """All events as JSON-serialisable values, oldest first: the lines of a seed file."""
        return [event.model_dump() for event in self.events()]

    def _mark(self, kind: State, request_ids: Iterable[str], by: str, payload: dict[str, Any]) -> None:
        ids = sorted(set(request_ids))
        self._advance(ids, kind, by, lambda _: payload, lambda record: not record.knows(kind, payload))

    def _advance(
        self,
        request_ids: Sequence[str],
        kind: State,
        by: str,
        payload: Callable[[Record], dict[str, Any]],
        wanted: Callable[[Record], bool] = lambda _: True,
    ) -> None:
        """Append one event of `kind` to each request for which it is `wanted`, in one transaction."""

        def step(connection: sa.Connection, tail: Event | None) -> tuple[None, Event | None]:
            for request_id in request_ids:
                record = journal.record(connection, request_id)
                if not wanted(record):
                    continue
                if record.state not in FORWARD[kind]:
                    allowed = " or ".join(FORWARD[kind])
                    raise ExpungeError(f"{request_id} is {record.state}; only {allowed} requests can be {kind}.")
                tail = self._append(connection, tail, request_id, kind, by, payload(record))
            return None, tail

        self._write(step)


def _same_person(one: str, other: str) -> bool:
    return " ".join(one.casefold().split()) == " ".join(other.casefold().split())


def _as_approved(record: Record) -> DeletionRequest:
    if record.request.digest != record.approved_digest:
        raise ExpungeError(f"{record.request.request_id} is not what was approved; the ledger was changed.")
    return record.request.model_copy(update={"near_duplicates": record.approved_near_duplicates})


def _same(known: DeletionRequest, asked: DeletionRequest, due: date | None) -> DeletionRequest:
    """The request that a sender's reference names already, if it is `asked` again."""
    parts = ("selectors", "basis", "requester_digest", "note")
    changed = [part for part in parts if getattr(known, part) != getattr(asked, part)]
    if due not in (None, known.due):
        changed.append("due")
    if not changed:
        return known
    raise RequestRefused(
        f"The reference {known.external_reference!r} names {known.request_id} already, with another "
        f"{' and '.join(changed)}. Nothing was recorded; choose another reference, or withdraw that request."
    )
