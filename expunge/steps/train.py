"""Step `train`: data/catalog → models/base."""

from __future__ import annotations

from pathlib import Path

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.curves import training_rows, write_curve
from expunge.models.retrain import train_from_scratch
from expunge.project.costs import measured
from expunge.project.errors import ExpungeError
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.project.progress import progress
from expunge.project.reading import read_plain
from expunge.selection.predicates import query_ids
from expunge.settings import Params
from expunge.steps import step_main

MAX_IDS = 1 << 30
"""Bytes of a list of ids."""


def train(paths: Paths, params: Params, release: str) -> None:
    """Train the base model on everything in the `train` split, or take it from where it was trained."""
    where, catalog = paths.release(release), Catalog(paths.catalog)
    if params.train.external is not None:
        check_trained_on(catalog, params.train.external.trained_on, paths.root)
    with progress("train base model") as report, measured() as cost:
        model, curve, pairs = train_from_scratch(catalog, params, set(), paths.checkpoints, report)
    digest = clip.save(model, where.model)
    write_curve(where.training_curve, training_rows(curve))
    write_json(
        where.training,
        {"seconds": cost.seconds, "peak_memory_mb": cost.peak_memory_mb, "pairs": pairs, "steps": len(curve)},
    )
    print(f"train: {len(curve)} steps on {pairs} pairs in {cost.seconds:.0f} s, model {digest[:12]}")


def check_trained_on(catalog: Catalog, trained_on: str | None, root: Path) -> None:
    """Compare the catalog's splits with what a model from elsewhere was trained on: a file of ids or a predicate.

    Raises:
        ExpungeError: the split `train` holds what the model never saw, or a held-out split what it did see.
    """
    if trained_on is None:
        return
    if (root / trained_on).is_file():
        said = set(read_plain(root / trained_on, MAX_IDS).decode("utf-8").split("\n")) - {""}
    elif trained_on.endswith((".txt", ".csv", ".ids")):
        raise ExpungeError(f"train.external.trained_on: there is no file {trained_on}.")
    else:
        said = set(query_ids(catalog, trained_on))
    inside = catalog.split_ids("train")
    for ids, what in (
        (inside - said, "samples of the split `train`, which the model was not trained on"),
        (said & set(catalog.ids) - inside, "held-out samples, which the model was trained on"),
    ):
        if ids:
            raise ExpungeError(
                f"The catalog has {len(ids)} {what}, for example {min(ids)}: every figure would compare with the wrong "
                "samples. Give the source a column with the split of the training (catalog.map.split), or mend "
                "train.external.trained_on."
            )


if __name__ == "__main__":
    step_main(train)
