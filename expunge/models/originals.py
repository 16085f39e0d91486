"""Pictures as the catalog has them, decoded when a batch needs them and augmented by open_clip's own transforms.

This is the image pipeline of open_clip's trainer (`train.aug_cfg`, `loading.workers`). Each picture of each epoch is
drawn from a seed of its own, so the batches are the same bits however many processes make them, and after a kill.
"""

from __future__ import annotations

import os
import random
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow.compute as pc
import torch
from PIL import Image
from torch import Tensor
from torch.utils.data import DataLoader, Dataset

from expunge.corpus.catalog import Catalog
from expunge.corpus.pictures import decode_image
from expunge.models.clip import Clip
from expunge.models.decoding import decoded
from expunge.models.network import open_clip
from expunge.models.pairs import Pairs, Wording, load_pairs, read_wording, rows_of, tables_of
from expunge.models.settings import AugmentationParams, LoadingParams, TrainParams
from expunge.project.columns import binaries
from expunge.project.scratch import scratch

Key = tuple[int, int]
"""Epoch, or step where no picture comes twice in one, and position of one picture."""


@dataclass(frozen=True)
class Originals(Wording):
    """Samples of a catalog with their encoded pictures.

    Attributes:
        clip: whose preprocessing counts.
        content: the encoded pictures, one after another, uint8 [bytes], memory-mapped.
        ends: where each ends, int64 [N].
        workers: processes that decode and augment ahead; with 0 this process does.
    """

    clip: Clip
    content: np.ndarray
    ends: np.ndarray
    workers: int = 0

    def encoded(self, position: int) -> bytes:
        """One picture's file."""
        start = self.ends[position - 1] if position else 0
        return self.content[start : self.ends[position]].tobytes()

    def images(self, positions: Sequence[int] | np.ndarray) -> Tensor:
        """uint8 pixels [B, 3, H, W] of `positions` by the model's preprocessing, not augmented."""
        names, pictures = [self.ids[one] for one in positions], [self.encoded(one) for one in positions]
        return torch.cat(list(decoded(self.clip, names, pictures, len(names))))


def load_for_training(
    catalog: Catalog, clip: Clip, ids: set[str], recipe: TrainParams, loading: LoadingParams
) -> Pairs | Originals:
    """The samples `ids` as the recipe takes their pictures: decoded once, or anew each time, where it augments them.

    Raises:
        ExpungeError: as `load_pairs` and `load_originals`.
    """
    if recipe.aug_cfg is None:
        return load_pairs(catalog, clip, ids)
    return load_originals(catalog, clip, ids, loading.workers)


def load_originals(catalog: Catalog, clip: Clip, ids: set[str], workers: int = 0) -> Originals:
    """Copy the encoded pictures of the samples `ids` out of `catalog`, in catalog order.

    Raises:
        ExpungeError: an id is not in the catalog, or the disk of the temporary folder is full.
    """
    rows = rows_of(catalog, ids)
    sizes = [pc.binary_length(table["image"]).to_numpy() for table in tables_of(catalog, rows, ["image"])]
    ends = np.cumsum(np.concatenate([*sizes, np.empty(0, np.int64)]), dtype=np.int64)
    content = scratch((int(ends[-1]) if len(ends) else 0,), np.uint8)
    place = 0
    for table in tables_of(catalog, rows, ["image"]):
        for data in binaries(table["image"]):
            content[place : place + len(data)] = np.frombuffer(data, np.uint8)
            place += len(data)
    return Originals(**vars(read_wording(catalog, rows)), clip=clip, content=content, ends=ends, workers=workers)


def augmented(
    originals: Originals, params: AugmentationParams, seed: int, batches: Iterable[list[Key]]
) -> Iterator[Tensor]:
    """uint8 pixels [B, 3, H, W] of each batch in turn, augmented.

    Args:
        batches: an iterable of batches; each picture's draws depend on `seed` and its key alone.
    """
    workers = min(originals.workers, os.cpu_count() or 1)  # more only wait for each other; they change no bit
    loader = DataLoader(
        _Augmented(originals, params, seed),
        batch_sampler=batches,
        num_workers=workers,
        collate_fn=torch.stack,
        multiprocessing_context="fork" if workers else None,  # so that the mapped file is shared and not copied
        generator=torch.Generator(),  # else the loader draws from the process's own
    )
    return iter(loader)


class _Augmented(Dataset[Tensor]):
    """One picture of one epoch, by its key."""

    def __init__(self, originals: Originals, params: AugmentationParams, seed: int) -> None:
        self._originals, self._seed = originals, seed
        cfg = open_clip.transform.PreprocessCfg(**originals.clip.config["preprocess_cfg"])
        with warnings.catch_warnings():  # it takes what it does read for unused; the settings have been checked
            warnings.simplefilter("ignore")
            transform = open_clip.transform.image_transform_v2(cfg, is_train=True, aug_cfg=params.model_dump())
        self._transform = cast(Callable[[Image.Image], Tensor], transform)

    def __getitem__(self, key: Key) -> Tensor:
        epoch, position = key
        picture = decode_image(self._originals.encoded(position), self._originals.ids[position])
        with drawn_from(self._seed, epoch, position):
            return self._originals.clip.to_uint8(self._transform(picture))


@contextmanager
def drawn_from(*key: int) -> Iterator[None]:
    """Inside the block the process's generators, which transforms draw from, are seeded by `key`."""
    before = torch.get_rng_state(), random.getstate(), np.random.get_state()
    seeds = np.random.SeedSequence(key).generate_state(3)
    torch.default_generator.manual_seed(int(seeds[0]))
    random.seed(int(seeds[1]))
    np.random.seed(seeds[2])
    try:
        yield
    finally:
        torch.set_rng_state(before[0])
        random.setstate(before[1])
        np.random.set_state(before[2])
