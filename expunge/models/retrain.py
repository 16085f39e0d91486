"""A model trained from scratch on a catalog without some of its samples: the base model, or a gold standard."""

from __future__ import annotations

from pathlib import Path

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.pairs import load_pairs
from expunge.models.training import TrainingRow, train
from expunge.project.files import digest_of
from expunge.project.progress import ProgressReport
from expunge.settings import Params


def train_from_scratch(
    catalog: Catalog, params: Params, without: set[str], checkpoints: Path, progress: ProgressReport | None = None
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
