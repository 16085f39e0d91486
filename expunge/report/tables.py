"""The figures of a release as rows of tables: labels, values as text, gaps."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from expunge.evaluation.metrics import (
    BaseCost,
    GroupName,
    ModelFigures,
    ReleaseCost,
    ReleaseMetrics,
    SetFigures,
)
from expunge.report import words

COLUMNS = ("original", "unlearned", "retrained")
KEPT: tuple[GroupName, ...] = ("neighbours", "retain", "test")
BRIEF = ("image_to_text_r1", "text_to_image_r1", "zero_shot_top1", "pair_similarity")
"""The metrics of the tables that every reader should read; the others are in the full table."""
NONE = "–"


def tiles(metrics: ReleaseMetrics) -> list[dict[str, str]]:
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
            "note": f"{speed_up} than retraining" if speed_up else "retraining was not measured",
        },
    ]


def _recall(figures: SetFigures) -> str:
    return value_text("image_to_text_r1", figures.image_to_text_r1)


def metric_rows(metrics: ReleaseMetrics, group: GroupName, keys: Sequence[str]) -> list[dict[str, Any]]:
    models = {name: figures.groups[group] for name, figures in metrics.models.there.items()}
    return [_row(words.METRICS[key], key, models) for key in keys]


def attack_rows(metrics: ReleaseMetrics) -> list[dict[str, Any]]:
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
        "values": {name: value_text(key, value) for name, value in values.items()},
        "gap": _gap(key, values["unlearned"], values["retrained"]),
    }


def request_rows(metrics: ReleaseMetrics) -> list[dict[str, Any]]:
    return [
        {
            "request_id": request_id,
            "count": figures.count,
            "recall": _row("", "image_to_text_r1", figures.there),
            "similarity": _row("", "pair_similarity", figures.there),
        }
        for request_id, figures in sorted(metrics.per_request.items())
    ]


def count_of(metrics: ReleaseMetrics, group: GroupName) -> int:
    return metrics.models.unlearned.groups[group].count


def cost_lines(cost: ReleaseCost | BaseCost) -> list[tuple[str, str]]:
    if isinstance(cost, BaseCost):
        lines = [("Training the base model", _seconds(cost.train_seconds))]
    else:
        lines = [
            ("Unlearning", _seconds(cost.unlearn_seconds)),
            ("Retraining from scratch, for comparison", _seconds(cost.retrain_seconds)),
            ("Against retraining", _speed_up(cost) or NONE),
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
    if not unlearn or not retrain:
        return None
    return f"{retrain / unlearn:.1f}× faster" if retrain >= unlearn else f"{unlearn / retrain:.1f}× slower"


def _seconds(value: float | None) -> str:
    if value is None:
        return NONE
    return f"{value:.1f} s" if value < 120 else f"{value / 60:.1f} min"


def value_text(key: str, value: float | None) -> str:
    if value is None or not math.isfinite(value):
        return NONE
    if key == "relearn_steps":
        return f"{value:.0f}"
    return f"{value:.2f}" if key in ("pair_similarity", "mia_auc") else f"{value * 100:.1f}\u00a0%"


def _gap(key: str, value: float | None, reference: float | None) -> str:
    if value is None or reference is None or not (math.isfinite(value) and math.isfinite(reference)):
        return NONE
    decimals = {"relearn_steps": 0, "pair_similarity": 2, "mia_auc": 2}.get(key, 1)
    scale = 1 if key in ("relearn_steps", "pair_similarity", "mia_auc") else 100
    gap = round((value - reference) * scale, decimals)
    return (f"{gap:+.{decimals}f}" if gap else f"{0:.{decimals}f}").replace("-", "−")
