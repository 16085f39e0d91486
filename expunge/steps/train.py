"""Step `train`: data/catalog → models/base."""

from __future__ import annotations

from expunge import clip
from expunge.catalog import Catalog
from expunge.config import Params
from expunge.costs import measured
from expunge.files import write_json
from expunge.paths import Paths
from expunge.progress import progress
from expunge.scratch import train_from_scratch
from expunge.steps import step_main
from expunge.steps.curves import training_rows, write_curve


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
