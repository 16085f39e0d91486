"""The files outside of the pipeline that a model is made from, for DVC to watch and for a purge to name."""

from __future__ import annotations

from pathlib import Path

from expunge.models.settings import ModelParams, TrainParams

LOCAL = "local-dir:"


def model_files(root: Path, model: ModelParams, train: TrainParams) -> list[str]:
    """Files and folders that the blocks `model` and `train` name and that are there, as they are written, sorted."""
    named = [model.pretrained, model.tokenizer]
    if model.name is not None and model.name.startswith(LOCAL):
        named.append(model.name.removeprefix(LOCAL))
    if train.external is not None:
        named += [train.external.checkpoint, train.external.trained_on]
    return sorted({name for name in named if name and (root / name).exists()})
