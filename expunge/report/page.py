"""The report page: one HTML file that explains itself, with its figures inside and no network.

`Facts` holds everything that the page shows; `render` turns it into HTML and never looks at a file. The page holds no
timestamp of its own, no sample id and no caption. Its pictures are of retained samples; requests appear by id, legal
basis and count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from expunge.evaluation.metrics import BaseMetrics, Metrics, ReleaseMetrics
from expunge.project.pages import environment
from expunge.report import judgement, words
from expunge.report.advice import advice
from expunge.report.charts import Figure, live_charts
from expunge.report.pictures import FoundPictures
from expunge.report.tables import (
    BRIEF,
    COLUMNS,
    KEPT,
    attack_rows,
    cost_lines,
    count_of,
    metric_rows,
    request_rows,
    tiles,
    value_text,
)


@dataclass(frozen=True)
class RequestLine:
    """One request as the page shows it: no selector and no note, as those may describe what was forgotten."""

    request_id: str
    basis: str
    received: str
    due: str
    samples: int | None
    digest: str


@dataclass(frozen=True)
class DigestLine:
    """One line of the lineage table."""

    label: str
    path: str
    sha256: str | None = None
    md5: str | None = None


@dataclass(frozen=True)
class ChainLink:
    """One release of the chain: who it serves, by which method, with which verdict; `base` serves nobody."""

    release: str
    requests: Sequence[str] = ()
    method: str | None = None
    verdict: str = ""


@dataclass(frozen=True)
class Facts:
    """Everything on the page.

    Attributes:
        metrics: content of metrics.json.
        rungs: methods that the release names, in order.
        gate: the gate's limits that judged, as the block `gate` of params.yaml has them.
        requests: those that this release serves.
        inherited: how many samples earlier releases had forgotten already.
        chain: from `base` to this release.
        digests: the lineage table.
        weights: path and SHA-256 of the weights, for the commands under *Check it yourself*.
        credit: what the corpus's licence asks to be named: source, licence, credit.
        figures: in the order in which they appear.
        pictures: retained pictures that forgotten captions find.
        intake: of `base`, how many rows of the source are in quarantine, and why.
    """

    release: str
    metrics: Metrics
    method: str | None
    requests: Sequence[RequestLine]
    inherited: int
    chain: Sequence[ChainLink]
    digests: Sequence[DigestLine]
    weights: tuple[str, str]
    git_commit: str
    credit: Mapping[str, str]
    figures: Sequence[Figure]
    rungs: Sequence[str] = ()
    gate: Mapping[str, Any] = field(default_factory=dict)
    pictures: Sequence[FoundPictures] = ()
    intake: str | None = None


def render(facts: Facts) -> str:
    """The page as HTML; the same facts give the same text."""
    if isinstance(facts.metrics, ReleaseMetrics):
        template, content = "release.html.j2", _release_content(facts, facts.metrics)
    else:
        template, content = "base.html.j2", _base_content(facts.metrics)
    return (
        environment(words=words)
        .get_template(template)
        .render(
            facts=facts,
            figures={figure.name: figure for figure in facts.figures},
            scripts=[live_charts()],
            **content,
        )
    )


def _release_content(facts: Facts, metrics: ReleaseMetrics) -> dict[str, Any]:
    gold = metrics.models.retrained is not None
    settings = judgement.settings(metrics, facts.gate)
    return {
        "headline": words.headline(metrics.gate, settings["looser"]),
        "explanation": words.explanation(metrics.gate, metrics.diagnosis, settings["looser"]),
        "passed": metrics.gate.passed,
        "gold": gold,
        "columns": [name for name in COLUMNS if gold or name != "retrained"],
        "failed": [judgement.failure(metrics, check) for check in metrics.gate.failed],
        "advice": advice(metrics, facts.gate),
        "judged": judgement.groups(metrics),
        "captions": metrics.gate.effective_captions.get(""),
        "bands": judgement.bands(metrics),
        "ladder": judgement.ladder(metrics, facts.rungs or (metrics.method,)),
        "settings": settings,
        "tiles": tiles(metrics),
        "forgotten": metric_rows(metrics, "forget", BRIEF) + attack_rows(metrics),
        "kept": [(words.SETS[group], count_of(metrics, group), metric_rows(metrics, group, BRIEF)) for group in KEPT],
        "everything": [
            (words.SETS[group], count_of(metrics, group), metric_rows(metrics, group, tuple(words.METRICS)))
            for group in ("forget", *KEPT)
        ],
        "per_request": request_rows(metrics),
        "costs": cost_lines(metrics.cost),
        "expected": value_text("pair_similarity", metrics.expected_similarity),
        "forgotten_count": metrics.models.unlearned.forget.count,
    }


def _base_content(metrics: BaseMetrics) -> dict[str, Any]:
    return {
        "headline": words.headline(None),
        "explanation": words.explanation(None, None),
        "labels": [words.METRICS[key] for key in BRIEF],
        "sets": [
            (words.SETS[name], figures.count, [value_text(key, getattr(figures, key)) for key in BRIEF])
            for name, figures in metrics.model.groups.items()
        ],
        "costs": cost_lines(metrics.cost),
    }
