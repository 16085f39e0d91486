"""A ledger that is gone, or whose end is not the one that was recorded last."""

from __future__ import annotations

from collections.abc import Iterator

from expunge.project.errors import ExpungeError
from expunge.repair.rebuild import rebuild
from expunge.repair.state import BlockingState, Site
from expunge.requests.head import HeadBroken
from expunge.requests.ledger import Ledger
from expunge.requests.origin import LedgerLost
from expunge.requests.table import read_seed

BACKUP = "With a backup, `expunge restore FILE` is the better way."


def ledger_state(site: Site) -> Iterator[BlockingState]:
    """At most one: the ledger is gone, its head is lost or does not fit, or an event was changed."""
    try:
        ledger = Ledger.open(site.params.ledger, site.paths.root)
        ledger.verify_chain()
    except LedgerLost as error:
        remedy = f"begin another with the seed and what releases, certificates and receipts remember. {BACKUP}"
        yield BlockingState("ledger", str(error), remedy, mend=lambda by: _begin_again(site, by))
    except HeadBroken as error:
        remedy = (
            "seal the chain as it stands, in your name, and say again what releases, certificates and receipts "
            f"remember beyond its end. What nothing remembers stays lost. {BACKUP}"
        )
        yield BlockingState("ledger", str(error), remedy, mend=lambda by: _seal_again(site, by))
    except ExpungeError as error:
        yield BlockingState(
            "ledger", str(error), "restore a backup; no repair can make up events", "expunge restore FILE"
        )


def _begin_again(site: Site, by: str) -> str:
    root, params = site.paths.root, site.params.ledger
    seed = root / params.seed if params.seed else None
    events = read_seed(seed) if seed and seed.is_file() else []
    ledger = Ledger.begin_again(params, root, events, by)
    return " ".join([f"The ledger begins again with {len(events)} events.", *rebuild(site, ledger, by)])


def _seal_again(site: Site, by: str) -> str:
    ledger = Ledger.begin_again(site.params.ledger, site.paths.root, [], by)
    return " ".join([f"The ledger is sealed again by {by}.", *rebuild(site, ledger, by)])
