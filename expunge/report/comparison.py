"""The comparison page: one file that works with the network cut, readable without its script, quicker with it."""

from __future__ import annotations

import base64
from typing import Any

import altair as alt
import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.examination.compare import Compared, GroupChange, summary
from expunge.models.thumbnails import thumbnails
from expunge.project.pages import environment
from expunge.project.paths import Paths
from expunge.report.attack import attack
from expunge.report.charts import INK, Figure, Panel, framed, in_script, live_charts, rows, said, script

MAX_BYTES = 3_000_000
"""Of all pictures together, so that the page stays under 5 MB."""
SIZE = 44
EXTREMES = 24
"""Samples shown with pictures on each side."""
MAX_GROUPS = 80
MAX_SAMPLES = 20_000
"""Samples that the page's filter knows; of more, those that changed most."""
LAYER = 22


def render_comparison(paths: Paths, found: Compared) -> str:
    """The page as HTML."""
    change = found.similarities[1] - found.similarities[0]
    order = np.argsort(change, kind="stable")
    lost, gained = order[:EXTREMES], order[::-1][:EXTREMES]
    wanted = [found.ids[row] for row in (*lost, *gained)]
    wanted += [name for query in found.queries for side in query.found for name, _ in side]
    pictures = _pictures(paths, wanted)
    shown = np.argsort(-np.abs(change), kind="stable")[:MAX_SAMPLES]
    data = {
        "names": found.names,
        "samples": [_sample(found, int(row)) for row in shown],
        "members": [_rounded(scores) for scores in found.members],
        "neverSeen": [_rounded(scores) for scores in found.never_seen],
        "queries": [{"text": query.text, "found": query.found} for query in found.queries],
    }
    return (
        environment()
        .get_template("comparison.html.j2")
        .render(
            found=found,
            summary=summary(found),
            lost=[_sample(found, int(row)) for row in lost],
            gained=[_sample(found, int(row)) for row in gained],
            groups={name: _rows(rows) for name, rows in found.groups.items()},
            attack=attack(found) if len(found.members[0]) and len(found.never_seen[0]) else None,
            layers=_layers(found) if found.layers else None,
            pictures=pictures,
            data=in_script(data),
            picture_data=in_script(pictures),
            scripts=[live_charts(), script("comparison.js")],
        )
    )


def _sample(found: Compared, row: int) -> dict[str, Any]:
    first, second = (round(float(one[row]), 3) for one in found.similarities)
    ranks = [int(one[row]) for one in found.ranks]
    return {
        "id": found.ids[row],
        "caption": found.captions[row],
        "class": found.classes[row],
        "s": [first, second],
        "r": ranks,
    }


def _rows(groups: list[GroupChange]) -> list[GroupChange]:
    """Groups of several samples, and of single ones only where there are none; the most changed first."""
    several = [one for one in groups if one.count > 1]
    return (several or groups)[:MAX_GROUPS]


def _layers(found: Compared) -> Figure:
    """CKA by layer as bars."""
    lowest = min(found.layers, key=lambda name: found.layers[name])
    data = [
        {"layer": name, "value": round(value, 4), "whole": 1, "said": f"{name}: {value:.3f}"}
        for name, value in found.layers.items()
    ]
    base = alt.Chart(rows(data)).encode(
        y=alt.Y("layer:N", title=None, sort=None, axis=alt.Axis(labelColor=INK, grid=False))
    )
    scale = alt.X("whole:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1.15]))
    layers = [
        base.mark_bar(color="var(--other)", opacity=0.3, cornerRadius=2).encode(x=scale),
        base.mark_bar(color="var(--unlearned)", cornerRadius=2).encode(x="value:Q", **said()),
        base.mark_text(align="left", dx=6).encode(x="whole:Q", text=alt.Text("value:Q", format=".2f")),
    ]
    label = f"Linear CKA of {' and '.join(found.names)} by layer; lowest: {lowest} {found.layers[lowest]:.2f}."
    return Figure(
        "layers",
        "How alike each layer is",
        "Bars that reach the end are layers that the two models share.",
        [Panel(label, framed(*layers, height=LAYER * len(data) + 8))],
        ["Layer", "Linear CKA"],
        [[name, f"{value:.4f}"] for name, value in found.layers.items()],
    )


def _pictures(paths: Paths, wanted: list[str]) -> dict[str, str]:
    """Sample id → data URI, as many of `wanted` as fit into the page, in order."""
    names = list(dict.fromkeys(wanted))
    made = thumbnails(Catalog(paths.catalog), set(names), SIZE)
    found, total = {}, 0
    for name in names:
        text = base64.b64encode(made[name]).decode()
        total += len(text)
        if total > MAX_BYTES:
            break
        found[name] = f"data:image/png;base64,{text}"
    return found


def _rounded(scores: np.ndarray) -> list[float]:
    return [round(float(score), 3) for score in scores]
