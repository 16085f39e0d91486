"""Which rows a release forgets: what it inherits, and what its requests select from the rest of the catalog."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from functools import partial

from expunge.corpus.catalog import Catalog
from expunge.corpus.splits import check_calibration
from expunge.embeddings.search import text_scores
from expunge.project.paths import BASE, Paths
from expunge.requests.keys import subject_digests
from expunge.requests.request import DeletionRequest
from expunge.selection.match import select
from expunge.selection.sets import ForgetRow, read_forget


def forget_rows(
    paths: Paths, requests: Sequence[DeletionRequest], name: str, parent: str
) -> tuple[list[ForgetRow], list[ForgetRow]]:
    """What release `name` inherits from `parent`, and what its own `requests` select from the rest of the catalog.

    Also run before a release is cut, so that a batch that cannot be served leaves nothing half made.

    Raises:
        ExpungeError: a request selects nothing or names something unknown, or the batch selects everything.
    """
    inherited = [] if parent == BASE else read_forget(paths.release(parent).forget)
    earlier = {row.sample_id for row in inherited}
    scores = partial(text_scores, paths, parent)
    return inherited, select(Catalog(paths.catalog), requests, name, earlier, scores, subject_digests(paths.root))


def check_can_be_judged(paths: Paths, forgotten: Iterable[ForgetRow]) -> None:
    """Refuse a forget set that leaves too few samples to judge its release by, before anything is unlearned.

    Raises:
        ExpungeError: fewer than are needed stay held out for calibration.
    """
    check_calibration(Catalog(paths.catalog).split_ids("calibration") - {row.sample_id for row in forgotten})
