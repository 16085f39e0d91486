"""The judge: may this release become `candidate`, and if not, what is wrong with its model?

The yardstick is the gold standard, a model retrained without the forget set. Where none was trained, the original
model stands in for it on everything that must stay, and the never-seen level estimated from held-out pairs on what
must go; the verdict then says `reference: estimate`.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

from expunge.evaluation.settings import GateParams
from expunge.project.errors import ExpungeError


@dataclass(frozen=True)
class Check:
    """One threshold: `value` must not exceed `limit`."""

    name: str
    passed: bool
    value: float
    limit: float
    meaning: str
    kind: str


def judge(
    params: GateParams,
    original: dict[str, Any],
    unlearned: dict[str, Any],
    retrained: dict[str, Any] | None,
    expected_similarity: float,
) -> dict[str, Any]:
    """The `gate` block and the `diagnosis` of `metrics.json`.

    Args:
        original, unlearned, retrained: blocks `M`; `retrained` is None where no gold standard was trained.
        expected_similarity: estimated mean cosine of the forgotten pairs had they never been seen.

    Raises:
        ExpungeError: the forget set is empty: a model that had nothing to forget must not pass for one that forgot.
    """
    if not unlearned.get("forget", {}).get("count"):
        raise ExpungeError("The release forgets nothing, so there is nothing to judge; check its requests.")
    checks = _checks(params, original, unlearned, retrained, expected_similarity)
    return {
        "gate": {
            "passed": all(check.passed for check in checks),
            "reference": "gold" if retrained else "estimate",
            "checks": [{key: value for key, value in asdict(check).items() if key != "kind"} for check in checks],
        },
        "diagnosis": diagnose(checks),
    }


def diagnose(checks: list[Check]) -> str:
    """The worst failure in words: catastrophic, then ineffective, then over-generalised; else effective."""
    failed = {check.kind for check in checks if not check.passed}
    for kind in ("catastrophic", "ineffective", "over-generalised"):
        if kind in failed:
            return kind
    return "effective"


def _standard_error(unlearned: dict[str, Any], retrained: dict[str, Any]) -> float:
    """Of the difference between two mean similarities of the forgotten pairs, taken as independent."""
    spread = [block["forget"]["pair_similarity_sd"] for block in (unlearned, retrained)]
    return math.hypot(*spread) / math.sqrt(unlearned["forget"]["count"])


def _checks(
    params: GateParams,
    original: dict[str, Any],
    unlearned: dict[str, Any],
    retrained: dict[str, Any] | None,
    expected_similarity: float,
) -> list[Check]:
    reference = retrained or original
    aim = retrained["forget"]["pair_similarity"] if retrained else expected_similarity
    # A model that never saw a pair may still match it, by what its caption shares with others; no gold, no credit.
    aim_recall = retrained["forget"]["image_to_text_r1"] if retrained else 0.0
    aim_auc = retrained["mia_auc"] if retrained else 0.5
    excess = unlearned["forget"]["pair_similarity"] - aim
    # Two retrainings differ in this, too. Chance excuses forgetting too much, never forgetting too little.
    chance = params.standard_errors * _standard_error(unlearned, retrained) if retrained and excess < 0 else 0.0

    def gap(group: str, metric: str) -> float:
        return abs(unlearned[group][metric] - reference[group][metric])

    def check(name: str, value: float, limit: float, kind: str, meaning: str) -> Check:
        return Check(name, value <= limit, value, limit, meaning, kind)

    return [
        check(
            "forget_recall",
            max(0.0, unlearned["forget"]["image_to_text_r1"] - aim_recall),
            params.max_excess_forget_recall,
            "ineffective",
            "Share of forgotten pictures that still find their caption first, beyond what the reference finds.",
        ),
        check(
            "forget_similarity",
            max(0.0, abs(excess) - chance),
            params.max_gap_forget_similarity,
            "ineffective" if excess > 0 else "over-generalised",
            "Distance of the forgotten pairs' mean similarity from that of never-seen pairs; below it, less chance.",
        ),
        check(
            "membership",
            abs(unlearned["mia_auc"] - aim_auc),
            params.max_gap_mia_auc,
            "ineffective" if unlearned["mia_auc"] > aim_auc else "over-generalised",
            "Distance of the membership attack's AUC from that on a model that never saw the data.",
        ),
        check(
            "neighbour_recall",
            gap("neighbours", "image_to_text_r1"),
            params.max_gap_neighbour_recall,
            "over-generalised",
            "Distance of the neighbours' image→text R@1 from the reference.",
        ),
        check(
            "neighbour_similarity",
            gap("neighbours", "pair_similarity"),
            params.max_gap_neighbour_similarity,
            "over-generalised",
            "Distance of the neighbours' mean pair similarity from the reference.",
        ),
        check(
            "retain_recall",
            max(0.0, reference["retain"]["image_to_text_r1"] - unlearned["retain"]["image_to_text_r1"]),
            params.max_drop_retain_recall,
            "catastrophic",
            "Loss of image→text R@1 on retained pictures against the reference.",
        ),
        check(
            "test_similarity",
            max(0.0, reference["test"]["pair_similarity"] - unlearned["test"]["pair_similarity"]),
            params.max_drop_test_similarity,
            "catastrophic",
            "Loss of pair similarity on held-out pictures against the reference.",
        ),
    ]
