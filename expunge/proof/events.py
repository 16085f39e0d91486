"""The ledger's part of a certificate: which of its events a certificate repeats, and whether it still holds them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import sqlalchemy as sa

from expunge.lineage.account import Comparison
from expunge.lineage.checks import ABSENT, compare, problem
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.requests.ledger import Ledger
from expunge.requests.origin import lost
from expunge.requests.settings import LedgerParams

if TYPE_CHECKING:
    from expunge.requests.events import Record

LAST = ("released", "purged")
"""The last events of a request that a certificate repeats; later ones may be about the certificate itself."""


def certified_events(record: Record | None, release: str) -> list[dict[str, Any]]:
    """The events of a request up to its release, by digest; empty where this ledger never saw the request."""
    if record is None:
        return []
    served = [event.seq for event in record.events if event.kind in LAST and event.payload.get("release") == release]
    last = max(served, default=record.events[-1].seq)
    return [event.model_dump(include={"seq", "kind", "at", "hash"}) for event in record.events if event.seq <= last]


def ledger_checks(params: LedgerParams, root: Path, predicate: Mapping[str, Any]) -> list[Comparison]:
    """Whether the ledger's chain is unbroken and holds the events that a certificate repeats.

    A ledger that was never on this machine is reported as missing, one that is gone is a problem; none is created.
    """
    requests = [request for request in predicate["requests"] if request["events"]]
    where = _shown(params.url)
    if not requests:
        return []
    if not _is_there(params.url, root) and Paths(root).ledger_head.is_file():
        return [problem("chain of the ledger", where, str(lost(params, root)))]
    if not _is_there(params.url, root):
        return [compare("chain of the ledger", where, requests[-1]["events"][-1]["hash"], None)]
    try:
        ledger = Ledger.open(params, root)
        ledger.verify_chain()
        records = {record.request.request_id: record for record in ledger.records()}
    except ExpungeError as error:
        return [problem("chain of the ledger", where, str(error))]
    checks = [compare("chain of the ledger", where, "unbroken", "unbroken")]
    for request in requests:
        checks += _event_checks(request, records.get(request["request_id"]), predicate["model"]["after"], where)
    return checks


def _event_checks(request: Mapping[str, Any], record: Record | None, model: str, where: str) -> list[Comparison]:
    events = record.events if record else ()
    hashes = {event.seq: event.hash for event in events}
    checks = [
        compare(
            f"{event['kind']} {request['request_id']}",
            f"{where}, event {event['seq']}",
            event["hash"],
            hashes.get(event["seq"], ABSENT),
        )
        for event in request["events"]
    ]
    if record and record.approved_digest:
        what = f"approved content of {request['request_id']}"
        checks.append(compare(what, where, request["digest"], record.approved_digest))
    if record and any(event["kind"] == "released" for event in request["events"]):
        checks.append(compare(f"model that serves {request['request_id']}", where, model, record.model_digest))
    return checks


def _is_there(url: str, root: Path) -> bool:
    address = sa.make_url(url)
    return address.get_backend_name() != "sqlite" or (root / (address.database or "")).is_file()


def _shown(url: str) -> str:
    return sa.make_url(url).set(query={}).render_as_string(hide_password=True)
