"""The list of what must not come back, where it is gone, was changed, or lacks a forgotten sample."""

from __future__ import annotations

from collections.abc import Iterator

from expunge.corpus.catalog import Catalog
from expunge.near_duplicates import suppression
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE
from expunge.proof.project import suppression_checks
from expunge.releases.chain import chain, has_passed, is_finished
from expunge.repair.state import BlockingState, Site
from expunge.selection.sets import read_forget


def suppression_state(site: Site) -> Iterator[BlockingState]:
    """At most one; it can be mended while the catalog has the forgotten samples, that is, before their purge."""
    try:
        wrong = [str(check.found) for check in suppression_checks(site.paths) if check.state == "mismatch"]
    except ExpungeError as error:
        wrong = [str(error)]
    if not wrong:
        return
    if _can_be_made(site):
        remedy = (
            "make it again from the forget sets and the catalog. With a backup, `expunge restore FILE` keeps all of it"
        )
        yield BlockingState("suppression list", wrong[0], remedy, mend=lambda by: _make(site))
    else:
        remedy = "restore a backup: what was on it has been purged from the catalog"
        yield BlockingState("suppression list", wrong[0], remedy, command="expunge restore FILE")


def _passed(site: Site) -> list[str]:
    return [
        name
        for name in chain(site.paths)
        if name != BASE and is_finished(site.paths, name) and has_passed(site.paths, name)
    ]


def _can_be_made(site: Site) -> bool:
    forgotten = {row.sample_id for name in _passed(site) for row in read_forget(site.paths.release(name).forget)}
    return forgotten <= set(Catalog(site.paths.catalog).ids)


def _make(site: Site) -> str:
    site.paths.suppression.unlink(missing_ok=True)
    site.paths.suppression_head.unlink(missing_ok=True)
    count = 0
    for name in _passed(site):
        count = suppression.record(site.paths, name)
    return f"The list has {count} samples."
