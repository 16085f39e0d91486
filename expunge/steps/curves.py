"""Curves of training and unlearning as CSV: what the report, MLflow and `dvc plots` draw."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from pathlib import Path

from expunge.files import atomic_path
from expunge.training import TrainingRow


def write_curve(path: Path, rows: Sequence[dict[str, float]]) -> None:
    """Write one line a step; columns are the keys of the first row, numbers in nine significant digits."""
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
