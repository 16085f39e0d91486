"""The gate as a reader sees it: each gap on the scale of what retrainings differ by, the ladder, the limits."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from expunge.evaluation.figures import FORGOTTEN, RETAINED, SIDES
from expunge.evaluation.limits import limits
from expunge.evaluation.metrics import ReleaseMetrics, Threshold
from expunge.project.documents import content_of
from expunge.report import words
from expunge.report.tradeoff import STAYS

FIGURES = {figure.name: figure for figure in (*FORGOTTEN, *RETAINED)}
DEVIATION = "forget_deviation"
NARROWEST, WIDEST = 5.0, 8.0
"""Spreads that the scale shows to each side; limits and gaps farther out stand at its end."""


@dataclass(frozen=True)
class Track:
    """One check on its scale; places are percent of the scale's width.

    Attributes:
        meaning: what it measures; empty where the same check stands above for all requests.
        gap: in spreads with its sign, as text.
        dot: place of the release.
        beyond: whether it lies outside of the scale.
        low, high: places of the limits that count, None where a side does not count.
        rarity: how many retrainings lie as far out, in words.
    """

    title: str
    meaning: str
    passed: bool
    gap: str
    limit: str
    measured: str
    reference: str
    dot: float
    beyond: bool
    low: float | None
    high: float | None
    rarity: str


def groups(metrics: ReleaseMetrics) -> list[tuple[str, list[Track]]]:
    """The checks under headings: what is forgotten, all together and request by request, then what stays."""
    scale = _scale(metrics.gate.checks)
    together = "What must go, all requests together" if len(metrics.requests) > 1 else "What must go"
    found: dict[str, list[Track]] = {}
    for check in metrics.gate.checks:
        name, _, request = check.name.partition(".")
        heading = "What must stay" if name in STAYS else request or together
        found.setdefault(heading, []).append(_track(check, scale))
    return list(found.items())


def bands(metrics: ReleaseMetrics) -> dict[str, Any]:
    """Where one and two spreads lie on the scale, and the scale's ends, in percent and spreads."""
    scale = _scale(metrics.gate.checks)
    return {"one": 50 / scale, "two": 100 / scale, "end": f"{scale:g}"}


def ladder(metrics: ReleaseMetrics, rungs: Sequence[str]) -> list[dict[str, str]]:
    """What became of each method that the release names, in the order in which they are tried."""
    attempts = {attempt.method: attempt for attempt in metrics.attempts}
    steps = []
    for name in rungs:
        if name == metrics.method:
            outcome, kind = ("serves" if metrics.gate.passed else "failed, and was the last"), "serves"
        elif name in attempts:
            titles = (words.title_of_check(check) for check in attempts[name].failed)
            outcome, kind = "failed: " + "; ".join(titles), "failed"
        else:
            outcome, kind = "was not needed", "spare"
        steps.append({"method": name, "outcome": outcome, "kind": kind if metrics.gate.passed else "failed"})
    return steps


def settings(metrics: ReleaseMetrics, used: Mapping[str, Any]) -> dict[str, Any]:
    """The gate's limits beside those that the library ships, and what the shipped ones would have said.

    Returns:
        `rows` of (name, used, shipped, whether looser), `looser` names, and `would_fail`: titles of checks that would
        have failed by the shipped limit but passed by the one used.
    """
    found = limits(used)
    rows = [
        (name, found["used"].get(name, shipped), shipped, name in found["looser"])
        for name, shipped in found["shipped"].items()
    ]
    strict = found["shipped"]["spreads"]
    would_fail = [words.title_of_check(one.name) for one in metrics.gate.checks if one.passed and one.value > strict]
    return {"rows": rows, "looser": found["looser"], "would_fail": would_fail}


def failure(metrics: ReleaseMetrics, check: Threshold) -> tuple[str, str]:
    """Title and explanation of a check that was not met; with the model before where it is about all requests."""
    name = check.name.partition(".")[0]
    parts = []
    if name in FIGURES and "." not in check.name:
        block = content_of(metrics.models.original)[FIGURES[name].group]
        parts.append(f"before {_number(FIGURES[name].read(block), name == DEVIATION)}")
    if check.measured is not None:
        after, retrained = (_number(value, name == DEVIATION) for value in (check.measured, check.reference))
        parts += [f"this release {after}", f"retrained {retrained}"]
    figures = f" ({', '.join(parts)})" if parts else ""
    text = f"{check.meaning} Gap {check.value:.1f} spreads, allowed {check.limit:g}{figures}."
    return words.title_of_check(check.name), text


def closest(metrics: ReleaseMetrics) -> Threshold | None:
    """The check that uses most of its limit."""
    return max(metrics.gate.checks, key=lambda check: check.value / check.limit if check.limit else 0.0, default=None)


def rarity(check: Threshold) -> str:
    """How many retrainings lie as far out, in words; empty where the file does not tell."""
    if check.beyond is None:
        return ""
    if check.value == 0 and check.gap:
        return "better than retrained models" if check.name in STAYS else "on the side that does no harm"
    if check.beyond >= 0.1:
        return f"{check.beyond * 100:.0f} % of retrainings lie as far out"
    if check.beyond < 1e-6:
        return "no retraining in a million lies as far out"
    return f"one retraining in {round(1 / check.beyond):,} lies as far out"


def _scale(checks: Sequence[Threshold]) -> float:
    limit = max((check.limit for check in checks), default=NARROWEST)
    return min(WIDEST, max(NARROWEST, round(limit * 1.4)))


def _track(check: Threshold, scale: float) -> Track:
    gap = check.value if check.gap is None else check.gap
    figure, _, request = check.name.partition(".")
    sides = SIDES.get(figure, "both")

    def place(value: float) -> float:
        return round(50 + 50 * max(-1.0, min(1.0, value / scale)), 2)

    return Track(
        title=words.title_of_check(figure),
        meaning="" if request else check.meaning,
        passed=check.passed,
        gap=f"{gap:+.1f}".replace("-", "−"),
        limit=f"{check.limit:g}",
        measured=_number(check.measured, figure == DEVIATION),
        reference=_number(check.reference, figure == DEVIATION),
        dot=place(gap),
        beyond=abs(gap) > scale,
        low=place(-check.limit) if sides in ("both", "below") and check.limit <= scale else None,
        high=place(check.limit) if sides in ("both", "above") and check.limit <= scale else None,
        rarity=rarity(check),
    )


def _number(value: float | None, logarithm: bool = False) -> str:
    """A figure in the unit of the report: deviations are judged by their logarithm."""
    if value is not None and logarithm:
        value = math.exp(value)
    return "–" if value is None else f"{value:.3f}".replace("-", "−")
