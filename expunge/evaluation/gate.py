"""The judge: may this release become `candidate`, and if not, what is wrong with its model?

The yardstick is retraining, and retraining is a distribution: two models retrained with other seeds differ as well. So
every figure of the release is compared with what the retrainings at hand have, and the gap is read in *spreads*: the
standard deviation of one retraining about the mean of others (`spread`). What a retraining could well have passes; what
hardly any would have does not. Each request is judged on its own as well as all of them together, since the one could
hide behind the other.

The retrainings at hand are the gold standards of the run. Where none was trained, text towers that were retrained from
a clean start stand in for them on what must go, the original model on what must stay, and the verdict says
`reference: estimate`. Where the forgotten pairs hang on few captions, one retraining says little about what others
would make of them: there the stand-ins join the gold standard.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from statistics import NormalDist, fmean
from typing import Any

import numpy as np

from expunge.evaluation.figures import (
    FORGOTTEN,
    HEAP,
    MEMBERSHIP,
    RETAINED,
    ROWS,
    SHAPE,
    JudgedFigure,
    chance_variance,
)
from expunge.evaluation.settings import GateParams
from expunge.evaluation.spread import Spread, recorded
from expunge.project.errors import ExpungeError

SHAPE_FEWEST = 8
"""Of fewer pairs neither their spread nor their distribution says anything."""
FARTHEST = 100.0
"""Spreads beyond which a gap is not told apart: keeps figures finite."""


@dataclass(frozen=True)
class Check:
    """One figure: its gap, `value`, must not exceed `limit`, both in spreads.

    Attributes:
        name: the figure, with the request's id behind a dot where it is that of one request.
        measured: the figure of the release.
        reference: mean of the retrainings.
        beyond: share of retrainings that would lie further out, were the figure normally distributed.
    """

    name: str
    passed: bool
    value: float
    limit: float
    measured: float
    reference: float
    beyond: float
    meaning: str
    kind: str


@dataclass(frozen=True)
class JudgedModel:
    """What the judge is told of one model.

    Attributes:
        metrics: its block `M`.
        requests: request id → its forget figures.
        similarities: cosines of the forgotten pairs, under "" of all, and by request id; may be left out.
        traces: what its text tower itself tells; may be left out.
        captions: the effective number of captions (`overlap`) of the forgotten pairs, under "" of all, and by request
            id; 1, which allows the most, where it is left out.
    """

    metrics: Mapping[str, Any]
    requests: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    similarities: Mapping[str, np.ndarray] = field(default_factory=dict)
    traces: Mapping[str, Any] = field(default_factory=dict)
    captions: Mapping[str, float] = field(default_factory=dict)


def judge(
    params: GateParams,
    unlearned: JudgedModel,
    retrainings: Sequence[JudgedModel],
    original: JudgedModel | None = None,
    spread: Spread | None = None,
    stand_ins: Sequence[JudgedModel] = (),
) -> dict[str, Any]:
    """The `gate` block and the `diagnosis` of `metrics.json`.

    Args:
        retrainings: gold standards, or where `original` is given the text towers that stand in for them.
        original: the parent's model, where there is no gold standard: the reference of what must stay.
        spread: what retrainings differ by; what comes with the library by default.
        stand_ins: further references beside gold standards, for what hangs on fewer captions than `few_captions`.

    Raises:
        ExpungeError: the forget set is empty (a model that had nothing to forget must not pass for one that forgot), or
            there is nothing to compare with.
    """
    if not unlearned.metrics.get("forget", {}).get("count"):
        raise ExpungeError("The release forgets nothing, so there is nothing to judge; check its requests.")
    if not retrainings:
        raise ExpungeError("There is no retraining to compare with; set release.gold, or gate.stand_ins to 1 or more.")
    spread = spread or recorded()
    checks = [*_forgotten(params, unlearned, retrainings, stand_ins, spread), *_traces(params, unlearned, retrainings)]
    checks += _retained(params, unlearned, [original] if original else retrainings, spread)
    return {
        "gate": {
            "passed": all(check.passed for check in checks),
            "reference": "estimate" if original else "gold",
            "retrainings": len(retrainings),
            "stand_ins": len(stand_ins),
            "effective_captions": dict(unlearned.captions),
            "checks": [{key: value for key, value in asdict(check).items() if key != "kind"} for check in checks],
        },
        "diagnosis": diagnose(checks),
    }


def diagnose(checks: list[Check]) -> str:
    """The worst failure in words: catastrophic, then ineffective, then over-generalised; else effective."""
    failed = {check.kind for check in checks if not check.passed}
    for kind in ("catastrophic", "ineffective", "over-generalised"):
        if kind in failed:
            return kind
    return "effective"


def _check(
    params: GateParams, figure: JudgedFigure, name: str, measured: float, reference: float, deviation: float
) -> Check:
    """A gap of `measured` from `reference`, whose standard deviation between retrainings is `deviation`."""
    gap = float(np.clip((measured - reference) / deviation if deviation else 0.0, -FARTHEST, FARTHEST))
    counts = {"both": abs(gap), "above": max(0.0, gap), "below": max(0.0, -gap)}[figure.sides]
    kind = figure.above if gap > 0 else figure.below
    beyond = 2 * NormalDist().cdf(-abs(gap))
    return Check(
        name, counts <= params.spreads, counts, params.spreads, measured, reference, beyond, figure.meaning, kind
    )


def hangs_on_few(params: GateParams, captions: Mapping[str, float]) -> bool:
    """Whether all forgotten pairs, or those of a request, hang on so few captions that stand-ins are to join."""
    return any(count < params.few_captions for count in captions.values())


def _forgotten(
    params: GateParams,
    unlearned: JudgedModel,
    retrainings: Sequence[JudgedModel],
    stand_ins: Sequence[JudgedModel],
    spread: Spread,
) -> Iterator[Check]:
    """All requests together, then each on its own where there are several."""
    parts = ["", *(sorted(unlearned.requests) if len(unlearned.requests) > 1 else [])]
    for part in parts:
        captions = unlearned.captions.get(part, 1.0)
        references = [*retrainings, *(stand_ins if captions < params.few_captions else [])]
        blocks = [subject.requests[part] if part else subject.metrics["forget"] for subject in (unlearned, *references)]
        for figure in FORGOTTEN:
            if figure.needs > blocks[0]["count"]:
                continue
            measured, *known = (figure.read(block) for block in blocks)
            hangs_on = captions if figure.by_caption else 1.0
            deviation = spread.of_difference(figure.name, len(known), hangs_on, chance_variance(figure, blocks[1:]))
            yield _check(params, figure, _named(figure.name, part), measured, fmean(known), deviation)
        if shape := _shape(params, part, unlearned, retrainings):
            yield shape
    yield from _membership(params, unlearned, retrainings, spread)


def _membership(
    params: GateParams, unlearned: JudgedModel, retrainings: Sequence[JudgedModel], spread: Spread
) -> Iterator[Check]:
    if "mia_auc" in unlearned.metrics:
        known = [subject.metrics["mia_auc"] for subject in retrainings]
        deviation = spread.of_difference(MEMBERSHIP.name, len(known), unlearned.captions.get("", 1.0))
        yield _check(params, MEMBERSHIP, MEMBERSHIP.name, unlearned.metrics["mia_auc"], fmean(known), deviation)


def _shape(params: GateParams, part: str, unlearned: JudgedModel, retrainings: Sequence[JudgedModel]) -> Check | None:
    """Two-sample Kolmogorov–Smirnov test of the similarities less their mean, which is judged by itself."""
    from scipy.stats import ks_2samp

    found = [subject.similarities.get(part) for subject in (unlearned, *retrainings)]
    if any(values is None or len(values) < SHAPE_FEWEST for values in found):
        return None
    own, *known = (values - values.mean() for values in found if values is not None)
    tested = ks_2samp(own, np.concatenate(known), method="asymp")
    gap = -NormalDist().inv_cdf(max(tested.pvalue / 2, 1e-300)) if tested.pvalue < 1 else 0.0
    return _check(
        params, SHAPE, _named(SHAPE.name, part), tested.statistic, 0.0, tested.statistic / gap if gap else 0.0
    )


def _traces(params: GateParams, unlearned: JudgedModel, retrainings: Sequence[JudgedModel]) -> Iterator[Check]:
    own, known = unlearned.traces, [subject.traces for subject in retrainings]
    if own.get("row_shift") is not None:
        deviation = ((1 + 1 / len(known)) / own["rows"]) ** 0.5
        reference = fmean(block["row_shift"] for block in known)
        yield _check(params, ROWS, ROWS.name, own["row_shift"], reference, deviation)
    if own.get("heap") is not None:
        error = fmean(block["heap_error"] ** 2 for block in known) / len(known)
        reference = fmean(block["heap"] for block in known)
        yield _check(params, HEAP, HEAP.name, own["heap"], reference, (own["heap_error"] ** 2 + error) ** 0.5)


def _retained(
    params: GateParams, unlearned: JudgedModel, references: Sequence[JudgedModel], spread: Spread
) -> Iterator[Check]:
    for figure in RETAINED:
        measured, *known = (figure.read(subject.metrics[figure.group]) for subject in (unlearned, *references))
        deviation = spread.of_difference(figure.name, len(known))
        yield _check(params, figure, figure.name, measured, fmean(known), deviation)


def _named(figure: str, request: str) -> str:
    return f"{figure}.{request}" if request else figure
