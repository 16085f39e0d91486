"""Forgetting against retention: a release among other releases and the methods of the benchmark.

Both figures are in spreads of retrainings, so that releases with other forget sets can stand in one picture: how far
the farthest figure of what is forgotten lies from retrainings, and how far the worst of what stays lies below them.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from importlib.resources import files
from typing import NamedTuple

from expunge.evaluation.figures import RETAINED
from expunge.evaluation.metrics import GateResult
from expunge.report.svg import BOTTOM, LEFT, RIGHT, TOP, Panel, Scale

FARTHEST = 100.0
STAYS = frozenset(figure.name for figure in RETAINED)
MARKS = (0, 1, 3.5, 10, 30, 100)


class Spot(NamedTuple):
    """One model in the picture; `forgetting` and `retention` are gaps in spreads, best at nought."""

    name: str
    kind: str
    forgetting: float
    retention: float


def place(gaps: Mapping[str, float]) -> tuple[float, float]:
    """(farthest gap on what is forgotten, worst loss on what stays) of the gate's checks by name, in spreads."""
    kept = [value for name, value in gaps.items() if name in STAYS]
    lost = [value for name, value in gaps.items() if name not in STAYS]
    return max(lost, default=0.0), max(kept, default=0.0)


def spot(name: str, gate: GateResult, kind: str) -> Spot:
    """A release by its gate."""
    return Spot(name, kind, *place({check.name: check.value for check in gate.checks}))


def benchmark() -> tuple[str, list[Spot]]:
    """Where the recorded methods lie, with a sentence on where that comes from."""
    content = json.loads((files("expunge.report") / "benchmark.json").read_text(encoding="utf-8"))
    spots = [Spot(one["method"], "other", one["forgetting"], one["retention"]) for one in content["methods"]]
    return content["origin"], spots


def chart(spots: list[Spot], limit: float) -> Panel:
    """The picture; both axes are stretched near nought (inverse hyperbolic sine), where it matters."""
    own = next(one for one in spots if one.kind == "unlearned")
    panel = Panel(
        f"Scatter plot of {len(spots)} models. {own.name}: farthest gap of what is forgotten {own.forgetting:.1f} "
        f"spreads, worst loss of what stays {own.retention:.1f} spreads.",
        height=330,
    )
    x = Scale(0, math.asinh(FARTHEST), LEFT, panel.width - RIGHT)
    y = Scale(0, math.asinh(FARTHEST), panel.height - BOTTOM, TOP)
    for mark in MARKS:
        at = math.asinh(mark)
        panel.add("line", "grid", x1=x.start, x2=x.end, y1=y(at), y2=y(at))
        panel.text(x.start - 6, y(at) + 4, f"{mark:g}", anchor="end")
        panel.text(x(at), y.start + 16, f"{mark:g}", anchor="middle")
    edge = math.asinh(limit)
    panel.add(
        "polyline",
        "mark",
        points=f"{x(edge):.0f},{y.start} {x(edge):.0f},{y(edge):.0f} {x.start},{y(edge):.0f}",
        fill="none",
    )
    panel.text((x.start + x.end) / 2, panel.height - 6, "gap of what is forgotten, in spreads", anchor="middle")
    panel.text(6, 14, "loss of what stays, in spreads")
    for one in spots:
        title = f"{one.name}: forgetting {one.forgetting:.1f}, retention {one.retention:.1f}"
        radius = 7 if one.kind == "unlearned" else 4
        panel.dot(x(math.asinh(one.forgetting)), y(math.asinh(one.retention)), one.kind, title, radius)
    at = x(math.asinh(own.forgetting))
    left = at < panel.width * 0.75
    panel.text(
        at + (10 if left else -10), y(math.asinh(own.retention)) - 8, own.name, "ink strong", "start" if left else "end"
    )
    return panel
