"""All states that stop the project, the worst first; a new one is written in a file of its own and named here."""

from __future__ import annotations

from collections.abc import Callable, Iterator

from expunge.project.errors import ExpungeError
from expunge.proof.audit import CHECKS as AUDITS
from expunge.proof.audit import AuditCheck, Audited, Finding
from expunge.repair.aliases import alias_state
from expunge.repair.ledger import ledger_state
from expunge.repair.locks import damaged_record_state, dvc_lock_state
from expunge.repair.purges import half_purge_state
from expunge.repair.receipts import receipt_state
from expunge.repair.records import record_state
from expunge.repair.releases import cut_twice_state, failed_state, unfinished_state
from expunge.repair.state import BlockingState, Site
from expunge.repair.suppression import suppression_state

Detector = Callable[[Site], Iterator[BlockingState]]

STATES: tuple[Detector, ...] = (
    ledger_state,
    half_purge_state,
    damaged_record_state,
    cut_twice_state,
    failed_state,
    unfinished_state,
    suppression_state,
    alias_state,
    receipt_state,
    dvc_lock_state,
)
MENDED: tuple[Detector, ...] = (*STATES, record_state)
"""What `expunge repair` looks at. Where MLflow has lost a release, as in a clone, nothing stops; only traces end."""


def blocking(site: Site, detectors: tuple[Detector, ...] = STATES) -> list[BlockingState]:
    """What stops the project now; what cannot be looked at is named as well."""
    found: list[BlockingState] = []
    for detect in detectors:
        try:
            found += detect(site)
        except ExpungeError as error:
            found.append(
                BlockingState(detect.__name__.removesuffix("_state"), str(error), "do what the message says", "")
            )
    return found


def nothing_blocks(audited: Audited) -> Iterator[Finding]:
    """No state stops the project: each that does is named with the command that ends it."""
    for state in blocking(Site(audited.paths, audited.params)):
        how = f" `{state.command}` ends it." if state.command else ""
        yield Finding(state.severity, state.subject, f"{state.problem}{how}")


AUDIT: tuple[AuditCheck, ...] = (nothing_blocks, *AUDITS)
"""What the daily audit looks at: first what stops the project, then every promise."""
