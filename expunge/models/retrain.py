"""A model trained from scratch on a catalog without some of its samples: the base model, or a gold standard."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.external import finished, retrained_elsewhere
from expunge.models.originals import load_for_training
from expunge.models.recipe import train_by_recipe
from expunge.models.settings import ExternalParams
from expunge.models.slices import train_slices
from expunge.models.training import TrainingRow
from expunge.project.files import digest_of
from expunge.project.progress import ProgressReport
from expunge.settings import Params


def train_from_scratch(
    catalog: Catalog,
    params: Params,
    without: set[str],
    checkpoints: Path,
    progress: ProgressReport | None = None,
    known: Mapping[str, Tensor] | None = None,
) -> tuple[Clip, list[TrainingRow], int]:
    """Train a new model by `params.model` and `params.train` on the `train` split without the samples `without`.

    A run that was killed resumes from its last checkpoint under `checkpoints`. A model that was trained elsewhere is
    taken as it is, and retrained by its owner's command.

    Args:
        known: parts of an earlier model that was trained in slices (`train.sharded`); what does not depend on
            `without` is taken from them, which changes no bit of the result.

    Returns:
        The model, its curve, and the number of pairs that it was trained on.
    """
    ids = catalog.split_ids("train") - without
    if params.train.external is not None:
        clip.configure(params.compute)
        return _elsewhere(params, params.train.external, ids, checkpoints if without else None), [], len(ids)
    if params.train.sharded is None:
        model, curve = _train(catalog, params, ids, checkpoints, progress)
        return model, curve, len(ids)
    plain = params.model_copy(update={"train": params.train.model_copy(update={"sharded": None})})

    def backbone(public: set[str]) -> tuple[Clip, list[TrainingRow]]:
        return _train(catalog, plain, public, checkpoints, progress)

    model, curve = train_slices(catalog, params, ids, backbone, known or {}, progress)
    return model, curve, len(ids)


def _train(
    catalog: Catalog, params: Params, ids: set[str], checkpoints: Path, progress: ProgressReport | None
) -> tuple[Clip, list[TrainingRow]]:
    device = clip.configure(params.compute)
    model = clip.create(params.model, params.seed)
    model.model.to(device)
    settings = params.model_dump(mode="json", include={"seed", "compute", "model", "train"})
    key = {"catalog": catalog.digest, "ids": digest_of(sorted(ids)), **settings}
    pairs = load_for_training(catalog, model, ids, params.train, params.loading)
    curve = train_by_recipe(
        model, pairs, params, lambda stage: Checkpoint(checkpoints, key | {"stage": stage}), progress
    )
    return model, curve


def _elsewhere(params: Params, external: ExternalParams, ids: set[str], checkpoints: Path | None) -> Clip:
    """The finished model; where there are `checkpoints`, one that the owner's command trains on `ids`."""
    if checkpoints is None:
        return clip.create(params.model, params.seed, Path(external.checkpoint))
    left = retrained_elsewhere(external, ids, params.seed, checkpoints)
    model = clip.create(params.model, params.seed, left)
    finished(left)
    return model
