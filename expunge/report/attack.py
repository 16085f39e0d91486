"""An attacker with a threshold, as the comparison page shows him: who is called a member by one model and the other."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import altair as alt
import numpy as np

from expunge.examination.compare import Compared
from expunge.report.charts import Figure, rows, said
from expunge.report.panels import BINS, histogram, roc_panel

MAX_LIMITS = 400
ALARMS = (0.01, 0.05, 0.1, 0.25, 0.5)
KINDS = ("unlearned", "retrained")
"""Colours of the two sides of each comparison."""


@dataclass(frozen=True)
class AttackView:
    """An attack.

    Attributes:
        low, high: thresholds that the slider runs between.
        start: the one that the page shows first.
        said: what that one catches, a sentence for each model.
        figure: scores and ROC curves, with the parameter `threshold`.
    """

    low: float
    high: float
    start: float
    said: Sequence[str]
    figure: Figure


def attack(found: Compared) -> AttackView:
    """Scores of forgotten pairs and of pairs never seen, and what each threshold makes of them."""
    every = np.concatenate([*found.members, *found.never_seen])
    low, high = (round(float(end), 3) for end in (every.min(), every.max() + 0.001))
    start = round((low + high) / 2, 3)
    threshold = alt.param(name="threshold", value=start)
    limits = np.append(np.unique(np.quantile(every, np.linspace(0, 1, MAX_LIMITS))), high)
    edges = np.linspace(low, high, BINS + 1)
    rule = (
        alt.Chart(rows([{"said": "the threshold"}])).mark_rule(strokeWidth=2, strokeDash=[1, 0]).add_params(threshold)
    )
    mark = rule.encode(**said(), x=alt.XDatum(alt.ExprRef(threshold.name), type="quantitative"))
    panels, corners = [], {}
    sides = list(zip(found.names, found.members, found.never_seen, strict=True))
    for name, members, others in sides:
        values = {"forgotten": members, "never seen": others}
        label = f"Attack scores on {name}: forgotten pairs and pairs never seen."
        kinds = dict(zip(values, KINDS, strict=True))
        panel = histogram(label, f"score by {name}", kinds, values, edges, mark)
        panels.append(panel)
        corners[name] = np.column_stack([_shares(scores, limits) for scores in (others, members)])
    label = "ROC curves of both models, with what the threshold catches."
    axis = "never seen, called members"
    panels.append(roc_panel(label, axis, dict(zip(found.names, KINDS, strict=True)), corners, limits, threshold))
    figure = Figure(
        "attack",
        "Scores, and whom a threshold catches",
        "The line among the scores is the threshold. The curves are all thresholds at once, their dots are this one.",
        panels,
        ["Never seen, called members", *(f"Forgotten, called members by {name}" for name in found.names)],
        [[f"{alarm:.0%}", *(f"{_caught(corners[name], alarm):.1%}" for name in found.names)] for alarm in ALARMS],
    )
    return AttackView(low, high, start, [_said(*side, start) for side in sides], figure)


def _shares(scores: np.ndarray, limits: np.ndarray) -> np.ndarray:
    """Share of scores at or above each limit."""
    return (scores[:, None] >= limits).mean(axis=0) if len(scores) else np.zeros(len(limits))


def _caught(corners: np.ndarray, alarm: float) -> float:
    """The largest share of members that is caught with at most so many false alarms."""
    return float(corners[corners[:, 0] <= alarm, 1].max(initial=0.0))


def _said(name: str, members: np.ndarray, others: np.ndarray, limit: float) -> str:
    caught, alarms = (float(_shares(scores, np.array([limit]))[0]) for scores in (members, others))
    return (
        f"{name}: {100 * caught:.1f} % of the forgotten pairs are called members, and {100 * alarms:.1f} % of the "
        "pairs never seen."
    )
