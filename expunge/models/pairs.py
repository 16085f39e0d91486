"""Image-text pairs in the form that a training loop wants: pixels by row number, captions by row number.

Pixels are decoded once, through the model's own preprocessing, into a memory-mapped temporary file of uint8; epochs
then read rows at random and the page cache decides what stays in memory. The file is unlinked as soon as it is open,
so not even a killed process leaves pictures behind;
its blocks are reserved first, because a disk that fills up under a mapping kills the process without a word.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.models.clip import Clip, decode_image
from expunge.project.columns import strings
from expunge.project.errors import ExpungeError


@dataclass(frozen=True)
class Wording:
    """What may be said of samples, addressed by position 0 … N-1; all that drawing captions needs, without pixels.

    Attributes:
        ids: sample ids.
        classes: class names.
        variants: what sets a picture apart within its concept, None for the plain one.
        captions: for each sample its captions as (language, text), canonical first.
    """

    ids: list[str]
    classes: list[str]
    variants: list[str | None]
    captions: list[list[tuple[str, str]]]

    def __len__(self) -> int:
        return len(self.ids)

    def canonical(self, positions: Sequence[int] | np.ndarray | None = None) -> list[str]:
        """Canonical captions of `positions`, of all samples by default."""
        chosen = range(len(self)) if positions is None else positions
        return [self.captions[position][0][1] for position in chosen]


@dataclass(frozen=True)
class Pairs(Wording):
    """Samples of a catalog with their pictures.

    Attributes:
        pixels: uint8 [N, 3, H, W], memory-mapped.
    """

    pixels: np.ndarray

    def images(self, positions: Sequence[int] | np.ndarray) -> Tensor:
        """uint8 pixels [B, 3, H, W] of `positions`."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels[np.asarray(positions)]))


def read_wording(catalog: Catalog, rows: Sequence[int] | np.ndarray) -> Wording:
    """The wording of the catalog's rows `rows`, in that order; no picture is read."""
    table = catalog.metadata.take(list(rows))
    said = cast(list[list[dict[str, str]]], table["captions"].to_pylist())
    captions = [[(entry["language"], entry["text"]) for entry in entries] for entries in said]
    variants = cast(list[str | None], table["variant"].to_pylist())
    return Wording(strings(table["sample_id"]), strings(table["class"]), variants, captions)


def load_pairs(catalog: Catalog, clip: Clip, ids: set[str] | None = None) -> Pairs:
    """Decode the samples `ids` (all by default) of `catalog`, in catalog order, shard by shard.

    Raises:
        ExpungeError: an id is not in the catalog, or an image cannot be decoded.
    """
    if ids is not None and (unknown := ids - set(catalog.ids)):
        raise ExpungeError(f"{len(unknown)} sample ids are not in the catalog, for example {min(unknown)}.")
    count = len(catalog) if ids is None else len(ids)
    size = clip.image_size
    pixels = unlinked_memmap((count, 3, size, size))
    names: list[str] = []
    classes: list[str] = []
    variants: list[str | None] = []
    captions: list[list[tuple[str, str]]] = []
    for table in catalog.tables(["sample_id", "class", "variant", "captions", "image"]):
        for row in table.to_pylist():
            if ids is not None and row["sample_id"] not in ids:
                continue
            image = clip.preprocess(decode_image(row["image"], row["sample_id"]))
            pixels[len(names)] = clip.to_uint8(image).numpy()
            names.append(row["sample_id"])
            classes.append(row["class"])
            variants.append(row["variant"])
            captions.append([(caption["language"], caption["text"]) for caption in row["captions"]])
    return Pairs(names, classes, variants, captions, pixels)


def unlinked_memmap(shape: tuple[int, ...], dtype: npt.DTypeLike = np.uint8) -> np.ndarray:
    """An array in a temporary file that has no name any more.

    Raises:
        ExpungeError: the disk has no room for it.
    """
    if 0 in shape:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile(dir=Path(tempfile.gettempdir())) as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, int(np.prod(shape)) * np.dtype(dtype).itemsize)
        except OSError as error:
            raise ExpungeError(f"No room for decoded images in {tempfile.gettempdir()} ({error.strerror}).") from error
        return np.memmap(stream, dtype, "r+", shape=shape)
