"""Forgetting against retention: a release among other releases and the methods of the benchmark.

Both figures are in spreads of retrainings, so that releases with other forget sets can stand in one picture: how far
the farthest figure of what is forgotten lies from retrainings, and how far the worst of what stays lies below them.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from importlib.resources import files
from typing import NamedTuple

import altair as alt

from expunge.evaluation.figures import RETAINED
from expunge.evaluation.metrics import GateResult, ReleaseMetrics
from expunge.report.charts import INK, Figure, Panel, by_kind, dashed, framed, rows, said

FARTHEST = 100.0
STAYS = frozenset(figure.name for figure in RETAINED)
MARKS = [0, 1, 3.5, 10, 30, 100]


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


def tradeoff(metrics: ReleaseMetrics, before: Sequence[ReleaseMetrics]) -> Figure:
    """The release among its ancestors and the methods of the benchmark."""
    origin, spots = benchmark()
    spots += [spot(one.release, one.gate, "original") for one in before]
    own = spot(metrics.release, metrics.gate, "unlearned")
    limit = max((check.limit for check in metrics.gate.checks), default=3.5)
    return Figure(
        "tradeoff",
        "Forgetting against retention",
        "The lower left corner is what a retraining would do; the dashed corner is what the gate lets pass. Pale dots "
        f"are the benchmark's methods, darker ones earlier releases of this chain. Benchmark: {origin}.",
        [_panel([*spots, own], own, limit)],
        ["Model", "Gap of what is forgotten", "Loss of what stays"],
        [[one.name, f"{one.forgetting:.1f}", f"{one.retention:.1f}"] for one in [own, *spots[::-1]]],
    )


def _panel(spots: list[Spot], own: Spot, limit: float) -> Panel:
    """The picture; both axes are stretched near nought, where it matters."""
    scale = alt.Scale(type="symlog", constant=1, domain=[0, FARTHEST], clamp=True, nice=False)
    marks = alt.Axis(
        values=MARKS, tickCount=len(MARKS), grid=True, labelOverlap=False, labelExpr="format(datum.value, '~g')"
    )
    data = [
        one._asdict() | {"said": f"{one.name}: forgetting {one.forgetting:.1f}, retention {one.retention:.1f}"}
        for one in spots
    ]
    kinds = {kind: kind for kind in ("other", "original", "unlearned")}
    dots = (
        alt.Chart(rows(data))
        .mark_circle(opacity=1, stroke="var(--paper)", strokeWidth=0.75)
        .encode(
            x=alt.X("forgetting:Q", title="gap of what is forgotten, in spreads", scale=scale, axis=marks),
            y=alt.Y("retention:Q", title="loss of what stays, in spreads", scale=scale, axis=marks),
            size=alt.condition("datum.kind == 'unlearned'", alt.value(150), alt.value(50)),
            **by_kind("kind", kinds, legend=False, dashes=False),
            **said(),
        )
    )
    corner = dashed((limit, 0), (limit, limit), (0, limit))
    left = own.forgetting < FARTHEST / 10
    name = alt.Chart(rows([own._asdict()])).mark_text(
        align="left" if left else "right", dx=10 if left else -10, dy=-8, fill=INK, fontWeight="bold"
    )
    return Panel(
        f"Scatter plot of {len(spots)} models. {own.name}: farthest gap of what is forgotten {own.forgetting:.1f} "
        f"spreads, worst loss of what stays {own.retention:.1f} spreads.",
        framed(corner, dots, name.encode(x="forgetting:Q", y="retention:Q", text="name:N"), height=330),
    )
