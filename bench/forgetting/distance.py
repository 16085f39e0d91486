"""How far a model is from the gold standard, figure by figure."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.examination.scores import average_gap

ORIGINAL, GOLD = "original", "gold"
GROUPS = ("forget", "neighbours", "retain", "unguarded", "test")
"""`unguarded` are trained pairs that stay and that no method is shown, with pictures, while it unlearns."""
RECALL, SIMILARITY = "image_to_text_r1", "pair_similarity"


def distance(metrics: Mapping[str, Any], gold: Mapping[str, Any]) -> dict[str, float]:
    """Absolute distance to the gold standard in each figure that is reported, in its own unit, and the average gap."""
    named = {f"{group}_recall": abs(metrics[group][RECALL] - gold[group][RECALL]) for group in GROUPS}
    named |= {f"{group}_similarity": abs(metrics[group][SIMILARITY] - gold[group][SIMILARITY]) for group in GROUPS}
    attack = abs(metrics["mia_auc"] - gold["mia_auc"])
    return named | {"mia_auc": attack, "average_gap": average_gap(metrics, gold)}
