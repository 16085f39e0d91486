"""Scratch projects: the benchmark forgets by the very steps of the pipeline, in release folders like any other.

What a method is given (the embedding store, the sets, the problem) and what it leaves behind are thus what production
has; a test compares the two bit by bit.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

from bench.forgetting.models import Workplace
from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.project.files import read_json
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain
from expunge.releases.cut import create_release
from expunge.requests.request import DeletionRequest, IdSelector
from expunge.selection.sets import ForgetRow, RetainRow, read_forget, read_retain
from expunge.settings import Params
from expunge.steps.embed import embed
from expunge.steps.select import select_sets
from expunge.unlearning.release import unlearn_release


@dataclass(frozen=True)
class Forgotten:
    """A model that has forgotten one set after the other, and what that cost.

    Attributes:
        digest: of its weights.
        values: the method's hyper-parameters.
        cost: `unlearn_seconds` of all releases together, as the step `unlearn` takes them (so without choosing the
            sets), and the greatest `parameters_changed`.
    """

    clip: Clip
    digest: str
    values: dict[str, Any]
    cost: dict[str, Any]


def forget(place: Workplace, catalog: Catalog, releases: Sequence[set[str]], method: str) -> Forgotten:
    """Let the base model forget the sets of sample ids `releases`, a release each.

    Raises:
        ExpungeError: a release selects nothing, or the method fails.
    """
    seconds, changed = 0.0, 0
    with scratch(place, catalog) as paths:
        for number, ids in enumerate(releases):
            name = cut(paths, place.params, ids, method)
            unlearn_release(paths, place.params, name)
            done = read_json(paths.release(name).unlearning)
            seconds, changed = seconds + done["seconds"], max(changed, done["parameters_changed"])
            if number + 1 < len(releases):
                embed(paths, place.params, name)
        folder = paths.release(name).model
        cost = {"unlearn_seconds": round(seconds, 2), "parameters_changed": changed}
        model = clip.load(folder, clip.configure(place.params.compute))
        return Forgotten(model, clip.model_digest(folder), done["parameters"], cost)


def selected(place: Workplace, catalog: Catalog, ids: set[str]) -> tuple[list[ForgetRow], list[RetainRow]]:
    """The forget and the retain set of one release that forgets `ids`, as the step `select` chooses them."""
    with scratch(place, catalog) as paths:
        where = paths.release(cut(paths, place.params, ids, place.params.release.methods[0]))
        return read_forget(where.forget), read_retain(where.retain)


def cut(paths: Paths, params: Params, ids: set[str], method: str) -> str:
    """Cut the next release, forgetting `ids`, and choose its sets; returns its name."""
    request = DeletionRequest(
        request_id=f"req-{len(chain(paths)):04d}",
        selectors=(IdSelector(ids=tuple(sorted(ids))),),
        basis="quality",
        received_at="2026-01-01T00:00:00Z",
        due=date(2026, 2, 1),
    )
    name = create_release(paths, [request], method, gold=False).release
    select_sets(paths, params, name)
    return name


@contextlib.contextmanager
def scratch(place: Workplace, catalog: Catalog) -> Iterator[Paths]:
    """A project in a temporary folder: links to the catalog, the base model and its embeddings; no release yet.

    What the steps print goes to stderr.
    """
    base = place.folder(catalog, set())
    stored = place.work / "embeddings" / f"{base.name}-{place.params.embed.batch_size}"
    with tempfile.TemporaryDirectory(prefix="expunge-bench-") as folder, contextlib.redirect_stdout(sys.stderr):
        paths = Paths(Path(folder))
        where = paths.release(BASE)
        for real, link in ((catalog.folder, paths.catalog), (base, where.model), (stored, where.embeddings)):
            real.mkdir(parents=True, exist_ok=True)
            link.parent.mkdir(parents=True, exist_ok=True)
            link.symlink_to(real.resolve(), target_is_directory=True)
        paths.live.parent.mkdir()
        acknowledge(paths)
        embed(paths, place.params, BASE)
        yield paths
