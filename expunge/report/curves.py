"""The curves that training and unlearning leave as CSV, as figures and records want them."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping
from pathlib import Path

CURVE_POINTS = 1000


def read_curve(path: Path, points: int = CURVE_POINTS) -> list[tuple[int, dict[str, float]]]:
    """Steps and finite values of a curve in CSV, thinned evenly to about `points`; empty without a file."""
    if not path.is_file():
        return []
    with open(path, newline="", encoding="utf-8") as stream:
        rows = list(csv.DictReader(stream))
    stride = max(1, math.ceil(len(rows) / points))
    kept = rows[::stride] + (rows[-1:] if (len(rows) - 1) % stride else [])
    return [(int(row.pop("step")), _finite(row)) for row in kept]


def _finite(row: Mapping[str, str]) -> dict[str, float]:
    numbers = {key: float(value) for key, value in row.items() if value}
    return {key: value for key, value in numbers.items() if math.isfinite(value)}
