"""Everything that one release is asked: all models on all sets, request by request, and the gate's verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.corpus.catalog import Catalog
from expunge.evaluation.gate import judge
from expunge.evaluation.levels import expected_similarity
from expunge.evaluation.measure import Measured, group_metrics, measure, relearn
from expunge.evaluation.sets import Sets, release_sets, rows_of
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs
from expunge.project.progress import progress
from expunge.selection.sets import ForgetRow, RetainRow
from expunge.settings import Params

MODELS = ("original", "unlearned", "retrained")
"""The names under which the parent's model, the release's and the gold standard are reported."""


@dataclass(frozen=True)
class Evaluation:
    """What was found out about a release.

    Attributes:
        sets: the rows that were reported on.
        measured: the models that there are, by their names in `MODELS`.
        metrics: the blocks `models`, `per_request`, `expected_similarity`, `diagnosis` and `gate` of metrics.json.
    """

    sets: Sets
    measured: dict[str, Measured]
    metrics: dict[str, Any]


def evaluate_release(
    catalog: Catalog,
    pairs: Pairs,
    models: Mapping[str, Clip],
    forget: Sequence[ForgetRow],
    retained: Sequence[RetainRow],
    release: str,
    params: Params,
) -> Evaluation:
    """Measure, attack and judge the models of `release`.

    Args:
        pairs: the whole catalog.
        models: `original` and `unlearned`; `retrained` too where there is a gold standard.
        forget: the release's cumulative forget set.

    Raises:
        ExpungeError: the release forgets nothing, or there are too few held-out pairs for the estimate.
    """
    forgotten = {row.sample_id for row in forget}
    own = [row for row in forget if row.release == release]
    sets = release_sets(catalog, {row.sample_id for row in own}, forgotten, retained)
    measured: dict[str, Measured] = {}
    with progress(f"evaluate {release}") as report:
        for number, (name, model) in enumerate(models.items(), 1):
            measured[name] = measure(model, pairs, sets, params.evaluate, params.embed.batch_size)
            report(number, len(models))
    steps = relearning_steps(models, measured, pairs, sets, params)
    blocks: dict[str, Any] = {name: found.metrics | {"relearn_steps": steps[name]} for name, found in measured.items()}
    expected = expected_similarity(catalog, measured["original"].gallery, sets.groups["forget"], forgotten)
    verdict = judge(params.gate, blocks["original"], blocks["unlearned"], blocks.get("retrained"), expected)
    metrics = {
        "models": {name: blocks.get(name) for name in MODELS},
        "per_request": _per_request(catalog, own, measured),
        "expected_similarity": expected,
        **verdict,
    }
    return Evaluation(sets, measured, metrics)


def relearning_steps(
    models: Mapping[str, Clip], measured: Mapping[str, Measured], pairs: Pairs, sets: Sets, params: Params
) -> dict[str, int]:
    """For each model the steps of fine-tuning until half of the original recall is back."""
    seen = measured["original"]
    original = group_metrics(seen.gallery, seen.matches, seen.named, sets.members)["image_to_text_r1"]
    steps: dict[str, int] = {}
    with progress("relearning attack") as report:
        for number, (name, model) in enumerate(models.items(), 1):
            steps[name] = relearn(
                model, measured[name], pairs, sets, original / 2, params.evaluate, params.compute, params.seed
            )
            report(number, len(models))
    return steps


def _per_request(catalog: Catalog, rows: Sequence[ForgetRow], measured: Mapping[str, Measured]) -> dict[str, Any]:
    """The forget figures of each request of the batch."""
    found: dict[str, Any] = {}
    for request_id in sorted({row.request_id for row in rows}):
        chosen = rows_of(catalog, {row.sample_id for row in rows if row.request_id == request_id})
        found[request_id] = {"count": len(chosen), "retrained": None} | {
            name: group_metrics(seen.gallery, seen.matches, seen.named, chosen) for name, seen in measured.items()
        }
    return found
