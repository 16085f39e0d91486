"""The comparison page: one file that works with the network cut, readable without its script, quicker with it."""

from __future__ import annotations

import base64
import json
from collections.abc import Mapping
from importlib.resources import files
from typing import Any

import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.examination.compare import Compared, GroupChange, summary
from expunge.models.thumbnails import thumbnails
from expunge.project.pages import environment
from expunge.project.paths import Paths
from expunge.report.svg import Panel, Scale

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
            layers=_chart(found).inline if found.layers else "",
            pictures=pictures,
            data=_json(data),
            picture_data=_json(pictures),
            script=(files("expunge.report") / "comparison.js").read_text(encoding="utf-8"),
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


def _chart(found: Compared) -> Panel:
    """CKA by layer as bars."""
    lowest = min(found.layers, key=lambda name: found.layers[name])
    panel = Panel(
        f"Linear CKA of {' and '.join(found.names)} by layer; lowest: {lowest} {found.layers[lowest]:.2f}.",
        height=LAYER * len(found.layers) + 8,
    )
    x = Scale(0, 1, 190, 380)
    for number, (name, value) in enumerate(found.layers.items()):
        y = 4 + LAYER * number
        panel.text(182, y + 14, name, "ink", "end")
        panel.add("rect", "bar other", x=x.start, y=y + 3, width=x.end - x.start, height=14, rx=2, fill_opacity=0.3)
        panel.add(
            "rect",
            "bar unlearned",
            f"{name}: {value:.3f}",
            x=x.start,
            y=y + 3,
            width=x(value) - x.start,
            height=14,
            rx=2,
        )
        panel.text(x.end + 6, y + 14, f"{value:.2f}")
    return panel


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


def _json(value: Mapping[str, Any]) -> str:
    """For a script element: no text of the data can end it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
