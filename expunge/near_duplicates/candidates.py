"""Which pairs are worth comparing pixel by pixel: near by perceptual hash, or near by embedding.

Both looks see every sample: hashes are those that the catalog keeps, embeddings those of the live release, read in
blocks. What they find is capped by likeness, so that the comparison costs what the request costs, however large the
catalog. bench/near_duplicates.py measures what the cap loses.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

import faiss
import numpy as np
from PIL import Image, ImageOps

from expunge.corpus.catalog import Catalog
from expunge.corpus.hashes import BITS, FRAMES, PACKED, packed_hashes, perceptual_hashes
from expunge.near_duplicates.compare import Original
from expunge.project.columns import binaries, strings
from expunge.project.progress import progress
from expunge.project.scratch import blocks

if TYPE_CHECKING:
    from expunge.selection.neighbours import Vectors

NEAR_BITS = 90
"""Pairs whose hashes differ in at most this many of 256 bits are compared; unrelated pictures differ in about 128."""
NEAR_COSINE = 0.95
"""Pairs whose embeddings have at least this cosine, mirrored or not, are compared as well."""
MOST = 32
"""Of each original, this many pairs at most by hash, and as many by embedding: the likest."""
SEEN = 16 * MOST
"""This many are looked at for it, since some of them the catalog declares to be something else."""
BLOCK = 8192

Apart = Callable[[str, str], bool]
"""Whether the catalog itself says that two samples differ."""
Encode = Callable[[Sequence[Image.Image]], np.ndarray]
"""RGB pictures → unit image embeddings, float32 [N, D]."""


@dataclass(frozen=True)
class Hashes:
    """Perceptual hashes of a catalog: `bits` is uint8 [N, 2, 32], one for each frame, in the order of `ids`."""

    ids: list[str]
    bits: np.ndarray


def read_hashes(catalog: Catalog, without: Set[str]) -> Hashes:
    """The hashes of all samples but `without`; samples whose picture cannot be decoded have none."""
    ids: list[str] = []
    parts: list[bytes] = []
    for shard in catalog.shards:
        table = catalog.read_shard(shard, ["sample_id", "hashes"])
        if "hashes" in table.column_names:
            packed = cast(list[bytes | None], table["hashes"].to_pylist())
        else:  # a catalog from before there was the column, which a purge has frozen
            table = catalog.read_shard(shard, ["sample_id", "image"])
            packed = [packed_hashes(data) for data in binaries(table["image"])]
        for name, one in zip(strings(table["sample_id"]), packed, strict=True):
            if one is not None and name not in without:
                ids.append(name)
                parts.append(one)
    return Hashes(ids, np.frombuffer(b"".join(parts), np.uint8).reshape(len(ids), FRAMES, PACKED // FRAMES))


def pairs_worth_comparing(
    originals: Mapping[str, Image.Image],
    hashes: Hashes,
    vectors: Vectors,
    without: Set[str],
    apart: Apart,
    encode: Encode,
) -> dict[str, dict[str, int]]:
    """Candidate → original → differing bits, for pairs that are near by hash or by embedding.

    Args:
        without: samples that are not candidates.
        apart: pairs that are not looked at.
    """
    pairs: dict[str, dict[str, int]] = {}
    row_of = {name: row for row, name in enumerate(hashes.ids)}
    by_embedding = _near_by_embedding(originals, vectors, without, encode)
    index = faiss.IndexBinaryFlat(BITS)
    index.add(hashes.bits.reshape(-1, PACKED // FRAMES))
    with progress("look for copies") as report:
        for number, (of, image) in enumerate(originals.items(), 1):
            views = np.packbits(perceptual_hashes([view.image() for view in Original(image).views]), axis=1)
            near = [(hashes.ids[row], bits) for row, bits in _near_by_hash(index, views)]
            for name, bits in [one for one in near if not apart(one[0], of)][:MOST]:
                pairs.setdefault(name, {})[of] = bits
            for name in [one for one in by_embedding[of] if one in row_of and not apart(one, of)][:MOST]:
                pairs.setdefault(name, {}).setdefault(of, _bits(views, hashes.bits[row_of[name]]))
            report(number, len(originals))
    return pairs


def _near_by_hash(index: faiss.IndexBinaryFlat, views: np.ndarray) -> list[tuple[int, int]]:
    """Row and differing bits of the samples that are nearest under any view, the nearest first."""
    distances, rows = index.search(views, min(SEEN, index.ntotal))
    best: dict[int, int] = {}
    for row, bits in zip((rows // FRAMES).ravel().tolist(), distances.ravel().tolist(), strict=True):
        if bits <= NEAR_BITS and bits < best.get(row, BITS + 1):
            best[row] = bits
    return sorted(best.items(), key=lambda item: (item[1], item[0]))


def _bits(views: np.ndarray, frames: np.ndarray) -> int:
    """The fewest bits in which one of `views` [V, 32] differs from one of `frames` [2, 32]."""
    return int(np.bitwise_count(views[:, None] ^ frames[None]).sum(axis=2).min())


def _near_by_embedding(
    originals: Mapping[str, Image.Image], vectors: Vectors, without: Set[str], encode: Encode
) -> dict[str, list[str]]:
    """Of each original, the ids of the `SEEN` samples with the greatest cosine to it or to its mirror image."""
    if not originals:
        return {}
    found: list[list[tuple[float, int]]] = [[] for _ in originals]
    queries = encode([picture for image in originals.values() for picture in (image, ImageOps.mirror(image))])
    for start, block in blocks(vectors.images, BLOCK):
        cosines = (queries @ np.asarray(block, np.float32).T).reshape(len(originals), 2, -1).max(axis=1)
        for place, row in np.argwhere(cosines >= NEAR_COSINE).tolist():
            if vectors.ids[start + row] not in without:
                found[place].append((-float(cosines[place, row]), start + row))
        found = [sorted(one)[:SEEN] for one in found]
    return {name: [vectors.ids[row] for _, row in near] for name, near in zip(originals, found, strict=True)}
