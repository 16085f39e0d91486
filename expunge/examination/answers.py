"""Answers as a flat table: what `expunge examine` shows and the benchmark's appendix prints."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

LEFT_OUT = ("count", "positives", "negatives", "recall")


def figures(answers: Mapping[str, Any], key: str = "") -> dict[str, float]:
    """Nested answers of one model under dotted names; counts and intervals are left out."""
    found: dict[str, float] = {}
    for part, item in answers.items():
        name = f"{key}.{part}" if key else str(part)
        if part in LEFT_OUT:
            continue
        if isinstance(item, Mapping):
            found |= figures(item, name)
        elif isinstance(item, int | float):
            found[name] = float(item)
    return found
