"""Step `gold`: the model retrained without everything that this release and its ancestors forget → models/gold/R."""

from __future__ import annotations

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.curves import training_rows, write_curve
from expunge.models.precision import settled
from expunge.models.ranks import is_first
from expunge.models.retrain import train_from_scratch
from expunge.project.costs import measured
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.project.progress import progress
from expunge.selection.sets import read_forget
from expunge.settings import Params
from expunge.steps.together import training_main


def gold(paths: Paths, params: Params, release: str) -> None:
    """Train the gold standard of `release` with the recipe and seed of the base model."""
    params = settled(paths, params)
    where = paths.release(release)
    catalog = Catalog(paths.catalog)
    forgotten = {row.sample_id for row in read_forget(where.forget, {"catalog": catalog.digest})}
    with progress(f"retrain without {len(forgotten)} samples") as report, measured() as cost:
        model, curve, pairs = train_from_scratch(catalog, params, forgotten, paths.checkpoints, report)
    if not is_first():
        return
    digest = clip.save(model, where.gold)
    write_curve(where.gold_curve, training_rows(curve))
    write_json(
        where.gold_training,
        {
            "seconds": cost.seconds,
            "peak_memory_mb": cost.peak_memory_mb,
            "pairs": pairs,
            "steps": len(curve),
            "precision": params.compute.precision,
        },
    )
    print(f"gold: {len(curve)} steps on {pairs} pairs in {cost.seconds:.0f} s, model {digest[:12]}")


if __name__ == "__main__":
    training_main(gold, "expunge.steps.gold")
