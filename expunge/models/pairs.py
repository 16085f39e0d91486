"""Image-text pairs in the form that a training loop wants: pixels by row number, captions by row number.

Pixels are decoded once, through the model's own preprocessing, into a memory-mapped temporary file of uint8; epochs
then read rows at random and the page cache decides what stays in memory.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import pyarrow as pa
import torch
from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.models.clip import Clip
from expunge.models.decoding import decoded
from expunge.project.columns import binaries, strings
from expunge.project.errors import ExpungeError
from expunge.project.progress import brief
from expunge.project.scratch import scratch

DECODED = 256
"""Pictures that are decoded at a time."""


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
        rows: the rows of the catalog that these are, ascending, int64 [N]; None for the whole catalog.
    """

    pixels: np.ndarray
    rows: np.ndarray | None = None

    def at(self, rows: np.ndarray) -> np.ndarray:
        """Positions of the samples at `rows` of the catalog."""
        return rows if self.rows is None else np.searchsorted(self.rows, rows)

    def images(self, positions: Sequence[int] | np.ndarray) -> Tensor:
        """uint8 pixels [B, 3, H, W] of `positions`."""
        return torch.from_numpy(np.ascontiguousarray(self.pixels[np.asarray(positions)]))


def read_wording(catalog: Catalog, rows: Sequence[int] | np.ndarray) -> Wording:
    """The wording of the catalog's rows `rows`, in that order; no picture is read."""
    return _wording(catalog.metadata.take(np.asarray(rows, np.int64)))


def load_pairs(catalog: Catalog, clip: Clip, ids: set[str] | None = None) -> Pairs:
    """Decode the samples `ids` (all by default) of `catalog`, in catalog order; shards without any are not read.

    Raises:
        ExpungeError: an id is not in the catalog, or an image cannot be decoded.
    """
    rows = np.arange(len(catalog)) if ids is None else rows_of(catalog, ids)
    size = clip.image_size
    pixels = scratch((len(rows), 3, size, size), np.uint8)
    place = 0
    with brief("decode pictures") as report:
        for table in tables_of(catalog, rows, ["sample_id", "image"]):
            for batch in decoded(clip, strings(table["sample_id"]), binaries(table["image"]), DECODED):
                pixels[place : place + len(batch)] = batch.numpy()
                place += len(batch)
                report(place, len(rows))
    return Pairs(**vars(read_wording(catalog, rows)), pixels=pixels, rows=rows)


def rows_of(catalog: Catalog, ids: set[str]) -> np.ndarray:
    """The rows of the catalog that have `ids`, ascending, int64 [N].

    Raises:
        ExpungeError: an id is not in the catalog.
    """
    if unknown := ids - catalog.row_of.keys():
        raise ExpungeError(f"{len(unknown)} sample ids are not in the catalog, for example {min(unknown)}.")
    return np.array(sorted(catalog.row_of[name] for name in ids), np.int64)


def tables_of(catalog: Catalog, rows: np.ndarray, columns: list[str]) -> Iterator[pa.Table]:
    """The rows `rows`, ascending, shard by shard; shards without any are not read."""
    start = 0
    for shard in catalog.shards:
        here = rows[(rows >= start) & (rows < start + shard.rows)] - start
        start += shard.rows
        if len(here):
            yield catalog.read_shard(shard, columns).take(here)


def _wording(table: pa.Table) -> Wording:
    said = cast(list[list[dict[str, str]]], table["captions"].to_pylist())
    captions = [[(entry["language"], entry["text"]) for entry in entries] for entries in said]
    variants = cast(list[str | None], table["variant"].to_pylist())
    return Wording(strings(table["sample_id"]), strings(table["class"]), variants, captions)
