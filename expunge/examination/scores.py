"""Single figures by which unlearning papers rank methods, from the blocks `M` of `metrics.json`.

All are lossy: a method can trade forgetting for utility at the same score, so the gate reads none of them. Accuracy
means image→text R@1 against the full gallery throughout, and where a paper takes the accuracy of a membership attack,
`mia_auc` stands in, which like it is ½ for an attacker who guesses.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import prod
from typing import Any

GROUPS = ("forget", "retain", "test")
METRIC = "image_to_text_r1"
NOMUS_WEIGHT = 0.5


def scores(
    original: Mapping[str, Any], unlearned: Mapping[str, Any], retrained: Mapping[str, Any] | None
) -> dict[str, float | None]:
    """Every score of `unlearned`; None where it needs a gold standard or an `mia_auc` that is not there.

    Returns:
        `average_gap` in percentage points, 0 is best; the others in [0, 1], 1 is best: `tow`, `tow_mia`, `h_mean`,
        `nomus`.
    """
    attacked = "mia_auc" in unlearned
    attacked_gold = retrained if retrained and attacked and "mia_auc" in retrained else None
    return {
        "average_gap": average_gap(unlearned, attacked_gold) if attacked_gold else None,
        "tow": tow(unlearned, retrained) if retrained else None,
        "tow_mia": tow_mia(unlearned, attacked_gold) if attacked_gold else None,
        "h_mean": h_mean(original, unlearned),
        "nomus": nomus(unlearned) if attacked else None,
    }


def average_gap(unlearned: Mapping[str, Any], retrained: Mapping[str, Any]) -> float:
    """100 · ¼ Σ |m − m_gold| over forget, retain and test R@1 and `mia_auc`, in percentage points.

    The Avg. Gap of SalUn (Fan et al. 2024, arXiv 2310.12508), whose UA = 1 − accuracy on the forget set has the same
    gap as the accuracy.
    """
    gaps = [_gap(unlearned, retrained, group) for group in GROUPS]
    return 100 * (sum(gaps) + abs(unlearned["mia_auc"] - retrained["mia_auc"])) / 4


def tow(unlearned: Mapping[str, Any], retrained: Mapping[str, Any]) -> float:
    """Tug-of-war: Π (1 − |a − a_gold|) over forget, retain and test (RUM, Zhao et al. 2024, arXiv 2406.01257)."""
    return prod(1 - _gap(unlearned, retrained, group) for group in GROUPS)


def tow_mia(unlearned: Mapping[str, Any], retrained: Mapping[str, Any]) -> float:
    """`tow` with the membership attack in place of the accuracy on the forget set (RUM)."""
    attack = 1 - abs(unlearned["mia_auc"] - retrained["mia_auc"])
    return attack * prod(1 - _gap(unlearned, retrained, group) for group in GROUPS if group != "forget")


def h_mean(original: Mapping[str, Any], unlearned: Mapping[str, Any]) -> float:
    """2 · a_r · drop / (a_r + drop), drop = a_f(original) − a_f(unlearned) (GS-LoRA, Zhao et al. 2024, 2403.11530).

    a_r is the accuracy on retained pairs after unlearning. 0 where the accuracy on forgotten pairs did not fall.
    """
    drop = original["forget"][METRIC] - unlearned["forget"][METRIC]
    retained = unlearned["retain"][METRIC]
    return 2 * retained * drop / (retained + drop) if drop > 0 else 0.0


def nomus(unlearned: Mapping[str, Any]) -> float:
    """λ · a_test + (1 − λ)(1 − 2 |MIA − ½|), λ = ½ (Choi & Na 2023, arXiv 2311.02240)."""
    forgetting = 1 - 2 * abs(unlearned["mia_auc"] - 0.5)
    return NOMUS_WEIGHT * unlearned["test"][METRIC] + (1 - NOMUS_WEIGHT) * forgetting


def _gap(unlearned: Mapping[str, Any], retrained: Mapping[str, Any], group: str) -> float:
    return abs(unlearned[group][METRIC] - retrained[group][METRIC])
