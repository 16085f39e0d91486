"""Step `train`: data/catalog → models/base."""

from __future__ import annotations

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.curves import training_rows, write_curve
from expunge.models.precision import settled
from expunge.models.ranks import is_first
from expunge.models.retrain import train_from_scratch
from expunge.project.costs import measured
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, write_json
from expunge.project.paths import Paths, ReleasePaths
from expunge.project.progress import progress
from expunge.settings import Params
from expunge.steps.together import training_main


def train(paths: Paths, params: Params, release: str) -> None:
    """Train the base model on everything in the `train` split, or take it from where it was trained."""
    params = settled(paths, params)
    where, catalog = paths.release(release), Catalog(paths.catalog)
    if params.train.external is not None and params.train.external.trained_on is not None:
        _check_compared(where, {"catalog": catalog.digest, "trained_on": params.train.external.trained_on})
    with progress("train base model") as report, measured() as cost:
        model, curve, pairs = train_from_scratch(catalog, params, set(), paths.checkpoints, report)
    if not is_first():
        return
    digest = clip.save(model, where.model)
    write_curve(where.training_curve, training_rows(curve))
    write_json(
        where.training,
        {
            "seconds": cost.seconds,
            "peak_memory_mb": cost.peak_memory_mb,
            "pairs": pairs,
            "steps": len(curve),
            "precision": params.compute.precision,
        },
    )
    print(f"train: {len(curve)} steps on {pairs} pairs in {cost.seconds:.0f} s, model {digest[:12]}")


def _check_compared(where: ReleasePaths, asked: dict[str, str]) -> None:
    """Raises ExpungeError where the stage `trained_on` has not compared this catalog with this setting."""
    if not where.trained_on.is_file() or read_json(where.trained_on) != asked:
        raise ExpungeError(
            "Nobody has compared the catalog with train.external.trained_on; run `expunge stages`, then `dvc repro`."
        )


if __name__ == "__main__":
    training_main(train, "expunge.steps.train")
