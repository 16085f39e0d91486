"""Step `train`: data/catalog → models/base."""

from __future__ import annotations

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.curves import training_rows, write_curve
from expunge.models.retrain import train_from_scratch
from expunge.project.costs import measured
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.project.progress import progress
from expunge.settings import Params
from expunge.steps import step_main


def train(paths: Paths, params: Params, release: str) -> None:
    """Train the base model on everything in the `train` split."""
    where = paths.release(release)
    with progress("train base model") as report, measured() as cost:
        model, curve, pairs = train_from_scratch(Catalog(paths.catalog), params, set(), paths.checkpoints, report)
    digest = clip.save(model, where.model)
    write_curve(where.training_curve, training_rows(curve))
    write_json(
        where.training,
        {"seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb, "pairs": pairs, "steps": len(curve)},
    )
    print(f"train: {len(curve)} steps on {pairs} pairs in {cost.seconds:.0f} s, model {digest[:12]}")


if __name__ == "__main__":
    step_main(train)
