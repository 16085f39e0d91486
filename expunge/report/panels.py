"""Panels that more than one page shows: histograms and ROC curves."""

from __future__ import annotations

from collections.abc import Mapping

import altair as alt
import numpy as np

from expunge.report.charts import PERCENT, Panel, by_kind, dashed, framed, pointed, rows

BINS = 24


def histogram(
    label: str,
    axis: str,
    kinds: Mapping[str, str],
    values: Mapping[str, np.ndarray],
    edges: np.ndarray,
    *marks: alt.Chart,
) -> Panel:
    """Shares of values in bins, one outline for each series.

    Args:
        kinds: name of each series → what it is.
        values: name of each series → its values.
        edges: of the bins, ascending.
        marks: layers on top.
    """
    shares = {name: np.histogram(own, edges)[0] / max(1, len(own)) for name, own in values.items()}
    data = [
        {"series": name, "from": round(float(edge), 3), "share": round(float(height), 4), "told": _told(name, values)}
        for name, share in shares.items()
        for edge, height in zip(edges, (*share, share[-1]), strict=True)
    ]
    highest = max(float(share.max()) for share in shares.values()) or 1.0
    base = alt.Chart(rows(data)).encode(
        x=alt.X("from:Q", title=axis, scale=alt.Scale(domain=[float(edges[0]), float(edges[-1])], nice=False)),
        y=alt.Y(
            "share:Q", title=None, stack=None, axis=PERCENT, scale=alt.Scale(domain=[0, highest * 1.12], nice=False)
        ),
    )
    channels = by_kind("series", kinds)
    areas = base.mark_area(interpolate="step-after", fillOpacity=0.16, strokeWidth=0).encode(color=channels["color"])
    outlines = base.mark_line(interpolate="step-after").encode(description="told:N", **channels)
    bins = base.transform_calculate(said="datum.series + ': ' + format(datum.share, '.1%') + ' from ' + datum.from")
    return Panel(label, framed(areas, outlines, *marks, pointed(bins)))


def roc_panel(
    label: str,
    axis: str,
    kinds: Mapping[str, str],
    corners: Mapping[str, np.ndarray],
    limits: np.ndarray | None = None,
    threshold: alt.Parameter | None = None,
) -> Panel:
    """ROC curves with the diagonal of guessing.

    Args:
        kinds: name of each series → what it is.
        corners: name of each series → (share of never seen pairs, share of members) called members, [N, 2].
        limits: scores from which on a pair is called a member, [N].
        threshold: at which of them dots stand on the curves.
    """
    data = [
        {"series": name, "place": place, "false": round(float(false), 4), "true": round(float(true), 4)}
        | ({} if limits is None else {"limit": round(float(limits[place]), 4)})
        for name, own in corners.items()
        for place, (false, true) in enumerate(own)
    ]
    channels = by_kind("series", kinds)
    curve = alt.Chart(rows(data)).encode(
        x=alt.X("false:Q", title=axis, axis=PERCENT), y=alt.Y("true:Q", title=None, axis=PERCENT)
    )
    layers = [dashed((0, 0), (1, 1)), curve.mark_line().encode(order="place:Q", description="series:N", **channels)]
    if threshold is not None:
        reached = curve.transform_filter(alt.datum.limit >= threshold).transform_aggregate(
            at="argmin(limit)", groupby=["series"]
        )
        dots = reached.mark_circle(size=120, opacity=1, stroke="var(--paper)").encode(
            x="at.false:Q", y="at.true:Q", color=channels["color"]
        )
        layers.append(dots.add_params(threshold))
    told = (
        "datum.series + ': ' + format(datum.true, '.1%') + ' caught at ' + format(datum.false, '.1%') + ' false alarms'"
    )
    return Panel(label, framed(*layers, pointed(curve.transform_calculate(said=told))))


def _told(name: str, values: Mapping[str, np.ndarray]) -> str:
    return f"{name}: mean {values[name].mean():.2f}" if len(values[name]) else name
