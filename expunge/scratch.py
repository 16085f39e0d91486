"""A model trained from scratch on a catalog without some of its samples: the base model, or a gold standard."""

from __future__ import annotations

from pathlib import Path

from expunge import clip
from expunge.catalog import Catalog
from expunge.checkpoint import Checkpoint
from expunge.clip import Clip
from expunge.config import Params
from expunge.files import digest_of
from expunge.pairs import load_pairs
from expunge.progress import Report
from expunge.training import TrainingRow, train


def train_from_scratch(
    catalog: Catalog, params: Params, without: set[str], checkpoints: Path, progress: Report | None = None
) -> tuple[Clip, list[TrainingRow], int]:
    """Train a new model by `params.model` and `params.train` on the `train` split without the samples `without`.

    A run that was killed resumes from its last checkpoint under `checkpoints`.

    Returns:
        The model, its curve, and the number of pairs that it was trained on.
    """
    device = clip.configure(params.compute)
    model = clip.create(params.model, params.seed)
    model.model.to(device)
    ids = catalog.split_ids("train") - without
    settings = params.model_dump(mode="json", include={"seed", "compute", "model", "train"})
    checkpoint = Checkpoint(checkpoints, {"catalog": catalog.digest, "ids": digest_of(sorted(ids)), **settings})
    pairs = load_pairs(catalog, model, ids)
    curve = train(model, pairs, params.train, params.compute, params.seed, checkpoint, progress)
    checkpoint.clear()
    return model, curve, len(pairs)
