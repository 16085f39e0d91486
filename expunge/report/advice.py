"""What a reader should do with a release, and what to worry about first."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from expunge.evaluation.metrics import ReleaseMetrics
from expunge.report import judgement, words


@dataclass(frozen=True)
class Advice:
    """The two boxes beside the verdict.

    Attributes:
        worry: title and one or two sentences.
        steps: commands with what each does, in order.
    """

    worry: tuple[str, str]
    steps: tuple[tuple[str, str], ...]


def advice(metrics: ReleaseMetrics, gate: Mapping[str, Any]) -> Advice:
    """Advice on a release.

    Args:
        gate: the limits that judged, as the block `gate` of params.yaml has them.
    """
    return Advice(_worry(metrics, judgement.settings(metrics, gate)), _steps(metrics))


def _worry(metrics: ReleaseMetrics, settings: Mapping[str, Any]) -> tuple[str, str]:
    worst = judgement.closest(metrics)
    title = words.title_of_check(worst.name, alone=True) if worst else ""
    if worst and not worst.passed:
        rare = judgement.rarity(worst)
        return (
            f"Not met: {title}",
            f"{worst.meaning} It lies {worst.value:.1f} spreads out, and {worst.limit:g} are allowed"
            + (f"; {rare}." if rare else "."),
        )
    if settings["looser"]:
        failing = settings["would_fail"]
        return (
            "The gate was set looser than the library ships it",
            f"By the shipped limits this release would have failed: {'; '.join(failing)}."
            if failing
            else "By the shipped limit it would have passed as well.",
        )
    if metrics.gate.reference == "estimate":
        return (
            "No model was retrained without the data",
            "The verdict is by estimate: text towers that were retrained without it stood in, and they say nothing of "
            "the image tower. Set `release.gold: true` to know.",
        )
    if worst is None:
        return ("Nothing was measured", "The gate of this release has no check.")
    rare = judgement.rarity(worst)
    return (
        f"Closest to its limit: {title}",
        f"{worst.meaning} It lies {worst.value:.1f} spreads out, and {worst.limit:g} are allowed"
        + (f"; {rare}." if rare else "."),
    )


def _steps(metrics: ReleaseMetrics) -> tuple[tuple[str, str], ...]:
    name = metrics.release
    if metrics.gate.passed:
        return (
            (f"expunge verify {name}", "checks the certificate against every file"),
            (f'expunge promote {name} --by "YOUR NAME"', "makes this the model that is to be used"),
            (f"expunge purge {name} --dry-run", "lists what still holds the forgotten data elsewhere"),
        )
    return (
        ("expunge repair --yes", f"sets the chain back to {metrics.parent}; this release stays for the record"),
        ("expunge release --method retrain", "serves the requests by retraining, which is dear and sure"),
    )
