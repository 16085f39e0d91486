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

from expunge.report import words
from expunge.report.figures import Figure, sets_in_order

COLUMNS = ("original", "unlearned", "retrained")
KEPT = ("neighbours", "retain", "test")
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
    metrics: Mapping[str, Any]
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
    is_release = "models" in facts.metrics
    template = environment.get_template("release.html.j2" if is_release else "base.html.j2")
    content = _release_content(facts.metrics) if is_release else _base_content(facts.metrics)
    return template.render(
        facts=facts,
        words=words,
        style=(files("expunge.report") / "page.css").read_text(encoding="utf-8"),
        headline=words.headline(facts.metrics),
        explanation=words.explanation(facts.metrics),
        **content,
    )


def _release_content(metrics: Mapping[str, Any]) -> dict[str, Any]:
    gold = metrics["models"].get("retrained") is not None
    return {
        "passed": metrics["gate"]["passed"],
        "gold": gold,
        "columns": [name for name in COLUMNS if gold or name != "retrained"],
        "checks": [_check(check) for check in metrics["gate"]["checks"]],
        "tiles": _tiles(metrics),
        "forgotten": _rows(metrics, "forget", BRIEF) + _attack_rows(metrics),
        "kept": [(words.SETS[group], _count(metrics, group), _rows(metrics, group, BRIEF)) for group in KEPT],
        "everything": [
            (words.SETS[group], _count(metrics, group), _rows(metrics, group, tuple(words.METRICS)))
            for group in ("forget", *KEPT)
        ],
        "per_request": _request_rows(metrics),
        "costs": _costs(metrics["cost"]),
        "expected": _value("pair_similarity", metrics.get("expected_similarity")),
        "forgotten_count": metrics["models"]["unlearned"]["forget"]["count"],
    }


def _base_content(metrics: Mapping[str, Any]) -> dict[str, Any]:
    groups = sets_in_order(metrics["model"])
    shown = [key for key in BRIEF if any(key in block for block in groups.values())]
    return {
        "labels": [words.METRICS[key] for key in shown],
        "sets": [
            (words.SETS.get(name, name), block.get("count"), [_value(key, block.get(key)) for key in shown])
            for name, block in groups.items()
        ],
        "costs": _costs(metrics["cost"]),
    }


def _check(check: Mapping[str, Any]) -> dict[str, Any]:
    return {
        "title": words.title_of_check(check["name"]),
        "name": check["name"],
        "passed": check["passed"],
        "value": f"{check['value']:.3f}",
        "limit": f"{check['limit']:.3f}",
        # How much of the limit is used, for the bar beside the figures: 0 to 100 percent.
        "used": round(min(1.0, check["value"] / check["limit"] if check["limit"] else float(check["value"] > 0)) * 100),
        "meaning": check["meaning"],
    }


def _tiles(metrics: Mapping[str, Any]) -> list[dict[str, str]]:
    """The four figures that a hurried reader needs."""
    models = metrics["models"]

    def change(group: str, metric: str = "image_to_text_r1") -> dict[str, str]:
        before, after = (_value(metric, models[name][group][metric]) for name in ("original", "unlearned"))
        retrained = models.get("retrained")
        note = f"{_value(metric, retrained[group][metric])} when retrained" if retrained else ""
        return {"before": before, "after": after, "note": note}

    tiles = [
        {"label": "Forgotten pictures that find their caption", **change("forget")},
        {"label": "Look-alikes that find theirs", **change("neighbours")},
        {"label": "Other pictures that find theirs", **change("retain")},
    ]
    cost = metrics["cost"]
    speed_up = _speed_up(cost)
    tiles.append(
        {
            "label": "Time to forget",
            "before": "",
            "after": _seconds(cost.get("unlearn_seconds")),
            "note": f"{speed_up} faster than retraining" if speed_up else "retraining was not measured",
        }
    )
    return tiles


def _rows(metrics: Mapping[str, Any], group: str, keys: Sequence[str]) -> list[dict[str, Any]]:
    models = {name: (metrics["models"].get(name) or {}).get(group, {}) for name in COLUMNS}
    return [_row(words.METRICS[key], key, {name: block.get(key) for name, block in models.items()}) for key in keys]


def _attack_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    models = {name: metrics["models"].get(name) or {} for name in COLUMNS}
    return [
        _row(label, key, {name: block.get(key) for name, block in models.items()})
        for key, label in words.ATTACKS.items()
        if any(key in block for block in models.values())
    ]


def _row(label: str, key: str, values: Mapping[str, float | None]) -> dict[str, Any]:
    return {
        "label": label,
        "values": {name: _value(key, value) for name, value in values.items()},
        "gap": _gap(key, values["unlearned"], values["retrained"]),
    }


def _request_rows(metrics: Mapping[str, Any]) -> list[dict[str, Any]]:
    rows = []
    for request_id, block in sorted(metrics["per_request"].items()):
        recall = {name: (block.get(name) or {}).get("image_to_text_r1") for name in COLUMNS}
        similarity = {name: (block.get(name) or {}).get("pair_similarity") for name in COLUMNS}
        rows.append(
            {
                "request_id": request_id,
                "count": block["count"],
                "recall": _row("", "image_to_text_r1", recall),
                "similarity": _row("", "pair_similarity", similarity),
            }
        )
    return rows


def _count(metrics: Mapping[str, Any], group: str) -> int | None:
    return metrics["models"]["unlearned"].get(group, {}).get("count")


def _costs(cost: Mapping[str, Any]) -> list[tuple[str, str]]:
    lines = [
        ("Training the base model", _seconds(cost.get("train_seconds"))),
        ("Unlearning", _seconds(cost.get("unlearn_seconds"))),
        ("Retraining from scratch, for comparison", _seconds(cost.get("retrain_seconds"))),
        ("Speed-up over retraining", _speed_up(cost) or NONE),
        ("Embedding the catalog again", _seconds(cost.get("embed_seconds"))),
        ("Peak memory", f"{cost['peak_memory_mb']:,.0f} MB" if cost.get("peak_memory_mb") else NONE),
        ("Parameters changed", f"{cost['parameters_changed']:,}" if cost.get("parameters_changed") else NONE),
    ]
    return [(label, value) for label, value in lines if value != NONE]


def _speed_up(cost: Mapping[str, Any]) -> str | None:
    unlearn, retrain = cost.get("unlearn_seconds"), cost.get("retrain_seconds")
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
