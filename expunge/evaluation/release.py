"""Everything that one release is asked: all models on all sets, request by request, and the gate's verdict."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from typing import Any

import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.evaluation.gate import JudgedModel, hangs_on_few, judge
from expunge.evaluation.inputs import ReleaseInputs
from expunge.evaluation.levels import expected_similarity
from expunge.evaluation.measure import Measured, group_metrics, measure, relearn
from expunge.evaluation.overlap import effective_by_request
from expunge.evaluation.sets import Sets, release_sets, rows_of
from expunge.evaluation.stand_ins import stand_ins
from expunge.evaluation.traces import Words, traces, words_of
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs, read_wording
from expunge.project.columns import strings
from expunge.project.progress import progress
from expunge.selection.sets import ForgetRow
from expunge.settings import Params

MODELS = ("original", "unlearned", "retrained")
"""The names under which the parent's model, the release's and the gold standard are reported."""


@dataclass(frozen=True)
class Evaluation:
    """What was found out about a release.

    Attributes:
        sets: the rows that were reported on.
        forgotten: sample ids of this release and its ancestors.
        requests: request id → rows that it forgets.
        measured: the models that there are, by their names in `MODELS`.
        metrics: the blocks `models`, `per_request`, `traces`, `expected_similarity`, `diagnosis` and `gate` of
            metrics.json.
    """

    sets: Sets
    forgotten: frozenset[str]
    requests: dict[str, np.ndarray]
    measured: dict[str, Measured]
    metrics: dict[str, Any]


@dataclass(frozen=True)
class Judged:
    """The models of a release as far as the judge asks about them.

    Attributes:
        forgotten: sample ids of this release and its ancestors.
        requests: request id → rows that it forgets.
        traces: what the text tower of each model tells.
        verdict: the blocks `gate` and `diagnosis`.
    """

    sets: Sets
    forgotten: frozenset[str]
    requests: dict[str, np.ndarray]
    measured: dict[str, Measured]
    traces: dict[str, dict[str, Any]]
    verdict: dict[str, Any]


def judge_release(asked: ReleaseInputs, params: Params) -> Judged:
    """Measure the models of a release and judge: what decides whether it may be used, and nothing else.

    Raises:
        ExpungeError: the release forgets nothing.
    """
    views, models, release = asked.views, asked.models, asked.release
    catalog, classes = views.catalog, strings(views.catalog.metadata["class"])
    forgotten = frozenset(row.sample_id for row in asked.forget)
    own = [row for row in asked.forget if row.release == release]
    sets = release_sets(catalog, {row.sample_id for row in own}, forgotten, asked.retained)
    requests = {name: rows_of(catalog, ids) for name, ids in _by_request(own).items()}
    words = searched_words(catalog, models["original"], sets, forgotten, params)
    measured: dict[str, Measured] = {}
    found: dict[str, dict[str, Any]] = {}
    with progress(f"evaluate {release}") as report:
        report(0, len(models))
        for number, (name, model) in enumerate(models.items(), 1):
            measured[name] = measure(model, views(model), classes, sets, params.evaluate)
            found[name] = traces(model, words)
            report(number, len(models))

    captions = effective_by_request(models["original"], catalog, sets.groups["forget"], requests)
    subjects = {name: judged_model(seen, found[name], sets, requests, captions) for name, seen in measured.items()}

    gold, others = subjects.get("retrained"), []
    if gold is None or hangs_on_few(params.gate, captions):
        for model in stand_ins(
            catalog, models["original"], measured["original"].gallery, forgotten, params, asked.stand_ins
        ):
            seen = measure(model, views(model), classes, sets, params.evaluate)
            others.append(judged_model(seen, traces(model, words), sets, requests, captions))
    if gold is None:
        verdict = judge(params.gate, subjects["unlearned"], others, subjects["original"])
    else:
        verdict = judge(params.gate, subjects["unlearned"], [gold], stand_ins=others)
    return Judged(sets, forgotten, requests, measured, found, verdict)


def judged_model(
    seen: Measured,
    traced: dict[str, Any],
    sets: Sets,
    requests: Mapping[str, np.ndarray],
    captions: Mapping[str, float],
) -> JudgedModel:
    """What the judge is told of one model: what was measured, what its text tower tells, what its sets hang on."""
    similarities = seen.gallery.similarities.double().numpy()
    return JudgedModel(
        seen.metrics,
        {name: group_metrics(seen.gallery, seen.matches, seen.named, rows) for name, rows in requests.items()},
        {"": similarities[sets.groups["forget"]]} | {name: similarities[rows] for name, rows in requests.items()},
        traced,
        captions,
    )


def evaluate_release(asked: ReleaseInputs, params: Params) -> Evaluation:
    """Measure, judge and attack the models of a release.

    Raises:
        ExpungeError: the release forgets nothing, or there are too few held-out pairs for the estimate.
    """
    found = judge_release(asked, params)
    catalog = asked.views.catalog
    shown = np.concatenate([found.sets.members, found.sets.guarded])
    pairs = load_pairs(catalog, asked.models["original"], {catalog.ids[row] for row in shown.tolist()})
    steps = relearning_steps(asked.models, found.measured, pairs, found.sets, params)
    blocks = {name: seen.metrics | {"relearn_steps": steps[name]} for name, seen in found.measured.items()}
    original, rows = found.measured["original"].gallery, found.sets.groups["forget"]
    metrics = {
        "models": {name: blocks.get(name) for name in MODELS},
        "per_request": _per_request(found.requests, found.measured),
        "traces": found.traces,
        "expected_similarity": expected_similarity(catalog, original, rows, found.forgotten),
        **found.verdict,
    }
    return Evaluation(found.sets, found.forgotten, found.requests, found.measured, metrics)


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


def searched_words(catalog: Catalog, clip: Clip, sets: Sets, forgotten: Set[str], params: Params) -> Words:
    """The words that `traces` looks for in the text tower of each model."""
    trained = rows_of(catalog, catalog.split_ids("train") - forgotten)
    held_out = rows_of(catalog, (catalog.split_ids("calibration") | catalog.split_ids("test")) - forgotten)
    forget, remaining, unseen = (read_wording(catalog, rows) for rows in (sets.groups["forget"], trained, held_out))
    return words_of(clip, forget, remaining, unseen, params.train)


def _by_request(rows: Sequence[ForgetRow]) -> dict[str, set[str]]:
    """Request id → the samples that it selects, sorted by id."""
    found: dict[str, set[str]] = {}
    for row in sorted(rows, key=lambda row: row.request_id):
        found.setdefault(row.request_id, set()).add(row.sample_id)
    return found


def _per_request(requests: Mapping[str, np.ndarray], measured: Mapping[str, Measured]) -> dict[str, Any]:
    """The forget figures of each request of the batch."""
    return {
        request_id: {"count": len(rows), "retrained": None}
        | {name: group_metrics(seen.gallery, seen.matches, seen.named, rows) for name, seen in measured.items()}
        for request_id, rows in requests.items()
    }
