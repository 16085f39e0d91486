"""Step `gold`: the model retrained without everything that this release and its ancestors forget → models/gold/R."""

from __future__ import annotations

from expunge import clip
from expunge.catalog import Catalog
from expunge.config import Params
from expunge.costs import measured
from expunge.files import write_json
from expunge.paths import Paths
from expunge.progress import progress
from expunge.scratch import train_from_scratch
from expunge.selection import read_forget
from expunge.steps import step_main
from expunge.steps.curves import training_rows, write_curve


def gold(paths: Paths, params: Params, release: str) -> None:
    """Train the gold standard of `release` with the recipe and seed of the base model."""
    where = paths.release(release)
    catalog = Catalog(paths.catalog)
    forgotten = {row.sample_id for row in read_forget(where.forget, {"catalog": catalog.digest})}
    with progress(f"retrain without {len(forgotten)} samples") as report, measured() as cost:
        model, curve, pairs = train_from_scratch(catalog, params, forgotten, paths.checkpoints, report)
    digest = clip.save(model, where.gold)
    write_curve(where.gold_curve, training_rows(curve))
    write_json(
        where.gold_training,
        {"seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb, "pairs": pairs, "steps": len(curve)},
    )
    print(f"gold: {len(curve)} steps on {pairs} pairs in {cost.seconds:.0f} s, model {digest[:12]}")


if __name__ == "__main__":
    step_main(gold)
