"""The report page: one HTML file that explains itself, with its figures inside and no network.

`Facts` holds everything that the page shows; `render` turns it into HTML and never looks at a file. The page holds no
timestamp of its own, no sample id, no caption and no picture: requests appear by id, legal basis and count.
"""

from __future__ import annotations

import base64
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from typing import Any

import jinja2

from expunge.evaluation.metrics import (
    BaseCost,
    BaseMetrics,
    GroupName,
    Metrics,
    ModelFigures,
    ReleaseCost,
    ReleaseMetrics,
    SetFigures,
    Threshold,
)
from expunge.report import words
from expunge.report.figures import Figure

COLUMNS = ("original", "unlearned", "retrained")
KEPT: tuple[GroupName, ...] = ("neighbours", "retain", "test")
BRIEF = ("image_to_text_r1", "text_to_image_r1", "zero_shot_top1", "pair_similarity")
"""The metrics of the tables that every reader should read; the others are in the full table."""
NONE = "–"


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
class Facts:
    """Everything on the page.

    Attributes:
        metrics: content of metrics.json.
        requests: those that this release serves.
        inherited: how many samples earlier releases had forgotten already.
        chain: names from `base` to this release.
        digests: the lineage table.
        weights: path and SHA-256 of the weights, for the commands under *Check it yourself*.
        credit: what the corpus's licence asks to be named: source, licence, credit.
        figures: in the order in which they appear.
    """

    release: str
    metrics: Metrics
    method: str | None
    requests: Sequence[RequestLine]
    inherited: int
    chain: Sequence[str]
    digests: Sequence[DigestLine]
    weights: tuple[str, str]
    git_commit: str
    credit: Mapping[str, str]
    figures: Sequence[Figure]


def render(facts: Facts) -> str:
    """The page as HTML; the same facts give the same text."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("expunge.report", ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["base64"] = lambda content: base64.b64encode(content).decode()
    if isinstance(facts.metrics, ReleaseMetrics):
        template, content = environment.get_template("release.html.j2"), _release_content(facts.metrics)
        gate, diagnosis = facts.metrics.gate, facts.metrics.diagnosis
    else:
        template, content = environment.get_template("base.html.j2"), _base_content(facts.metrics)
        gate, diagnosis = None, None
    return template.render(
        facts=facts,
        words=words,
        style=(files("expunge.report") / "page.css").read_text(encoding="utf-8"),
        headline=words.headline(gate),
        explanation=words.explanation(gate, diagnosis),
        **content,
    )


def _release_content(metrics: ReleaseMetrics) -> dict[str, Any]:
    gold = metrics.models.retrained is not None
    return {
        "passed": metrics.gate.passed,
        "gold": gold,
        "columns": [name for name in COLUMNS if gold or name != "retrained"],
        "checks": [_check(check) for check in metrics.gate.checks],
        "tiles": _tiles(metrics),
        "forgotten": _rows(metrics, "forget", BRIEF) + _attack_rows(metrics),
        "kept": [(words.SETS[group], _count(metrics, group), _rows(metrics, group, BRIEF)) for group in KEPT],
        "everything": [
            (words.SETS[group], _count(metrics, group), _rows(metrics, group, tuple(words.METRICS)))
            for group in ("forget", *KEPT)
        ],
        "per_request": _request_rows(metrics),
        "costs": _costs(metrics.cost),
        "expected": _value("pair_similarity", metrics.expected_similarity),
        "forgotten_count": metrics.models.unlearned.forget.count,
    }


def _base_content(metrics: BaseMetrics) -> dict[str, Any]:
    return {
        "labels": [words.METRICS[key] for key in BRIEF],
        "sets": [
            (words.SETS[name], figures.count, [_value(key, getattr(figures, key)) for key in BRIEF])
            for name, figures in metrics.model.groups.items()
        ],
        "costs": _costs(metrics.cost),
    }


def _check(check: Threshold) -> dict[str, Any]:
    return {
        "title": words.title_of_check(check.name),
        "name": check.name,
        "passed": check.passed,
        "value": f"{check.value:.3f}",
        "limit": f"{check.limit:.3f}",
        # How much of the limit is used, for the bar beside the figures: 0 to 100 percent.
        "used": round(min(1.0, check.value / check.limit if check.limit else float(check.value > 0)) * 100),
        "meaning": check.meaning,
    }


def _tiles(metrics: ReleaseMetrics) -> list[dict[str, str]]:
    """The four figures that a hurried reader needs."""
    models = metrics.models

    def change(group: GroupName) -> dict[str, str]:
        before, after = (models.original.groups[group], models.unlearned.groups[group])
        note = f"{_recall(models.retrained.groups[group])} when retrained" if models.retrained else ""
        return {"before": _recall(before), "after": _recall(after), "note": note}

    speed_up = _speed_up(metrics.cost)
    return [
        {"label": "Forgotten pictures that find their caption", **change("forget")},
        {"label": "Look-alikes that find theirs", **change("neighbours")},
        {"label": "Other pictures that find theirs", **change("retain")},
        {
            "label": "Time to forget",
            "before": "",
            "after": _seconds(metrics.cost.unlearn_seconds),
            "note": f"{speed_up} faster than retraining" if speed_up else "retraining was not measured",
        },
    ]


def _recall(figures: SetFigures) -> str:
    return _value("image_to_text_r1", figures.image_to_text_r1)


def _rows(metrics: ReleaseMetrics, group: GroupName, keys: Sequence[str]) -> list[dict[str, Any]]:
    models = {name: figures.groups[group] for name, figures in metrics.models.there.items()}
    return [_row(words.METRICS[key], key, models) for key in keys]


def _attack_rows(metrics: ReleaseMetrics) -> list[dict[str, Any]]:
    models = metrics.models.there
    return [
        _row(label, key, models)
        for key, label in words.ATTACKS.items()
        if any(getattr(figures, key) is not None for figures in models.values())
    ]


def _row(label: str, key: str, models: Mapping[str, SetFigures | ModelFigures]) -> dict[str, Any]:
    values = {name: getattr(models[name], key) if name in models else None for name in COLUMNS}
    return {
        "label": label,
        "values": {name: _value(key, value) for name, value in values.items()},
        "gap": _gap(key, values["unlearned"], values["retrained"]),
    }


def _request_rows(metrics: ReleaseMetrics) -> list[dict[str, Any]]:
    return [
        {
            "request_id": request_id,
            "count": figures.count,
            "recall": _row("", "image_to_text_r1", figures.there),
            "similarity": _row("", "pair_similarity", figures.there),
        }
        for request_id, figures in sorted(metrics.per_request.items())
    ]


def _count(metrics: ReleaseMetrics, group: GroupName) -> int:
    return metrics.models.unlearned.groups[group].count


def _costs(cost: ReleaseCost | BaseCost) -> list[tuple[str, str]]:
    if isinstance(cost, BaseCost):
        lines = [("Training the base model", _seconds(cost.train_seconds))]
    else:
        lines = [
            ("Unlearning", _seconds(cost.unlearn_seconds)),
            ("Retraining from scratch, for comparison", _seconds(cost.retrain_seconds)),
            ("Speed-up over retraining", _speed_up(cost) or NONE),
        ]
    lines += [
        ("Embedding the catalog again", _seconds(cost.embed_seconds)),
        ("Peak memory", f"{cost.peak_memory_mb:,.0f} MB" if cost.peak_memory_mb else NONE),
    ]
    if isinstance(cost, ReleaseCost) and cost.parameters_changed:
        lines.append(("Parameters changed", f"{cost.parameters_changed:,}"))
    return [(label, value) for label, value in lines if value != NONE]


def _speed_up(cost: ReleaseCost) -> str | None:
    unlearn, retrain = cost.unlearn_seconds, cost.retrain_seconds
    return f"{retrain / unlearn:.1f}×" if unlearn and retrain else None


def _seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def _value(key: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    if key == "relearn_steps":
        return f"{value:.0f}"
    return f"{value:.2f}" if key in ("pair_similarity", "mia_auc") else f"{value * 100:.1f} %"


def _gap(key: str, value: float | None, reference: float | None) -> str:
    if value is None or reference is None or not (math.isfinite(value) and math.isfinite(reference)):
        return NONE
    decimals = {"relearn_steps": 0, "pair_similarity": 2, "mia_auc": 2}.get(key, 1)
    scale = 1 if key in ("relearn_steps", "pair_similarity", "mia_auc") else 100
    gap = round((value - reference) * scale, decimals)
    return (f"{gap:+.{decimals}f}" if gap else f"{0:.{decimals}f}").replace("-", "−")
