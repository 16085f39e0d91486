"""Curves of training and unlearning as CSV: what the report, MLflow and `dvc plots` draw."""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from expunge.project.files import atomic_path

if TYPE_CHECKING:
    from expunge.models.training import TrainingRow

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


def write_curve(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write one line per step; columns are the keys of the first row, numbers in nine significant digits."""
    with atomic_path(path) as partial, open(partial, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]) if rows else ["step", "loss"], lineterminator="\n")
        writer.writeheader()
        for row in rows:
            writer.writerow({key: f"{value:.9g}" for key, value in row.items()})


def training_rows(curve: Sequence[TrainingRow]) -> list[dict[str, float]]:
    """A training curve as rows for `write_curve`."""
    return [
        {"step": row.step, "epoch": row.epoch, "loss": row.loss, "learning_rate": row.learning_rate} for row in curve
    ]
