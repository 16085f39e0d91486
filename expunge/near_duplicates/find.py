"""Near-duplicates in a catalog of the samples that a request selects.

Two looks from afar choose the pairs worth comparing: the perceptual hash under the usual views (blind to colour, sharp
on structure) and the model's image embedding, also of the mirror image (knows what is shown, survives noise). A pair
is a near-duplicate when the pictures, aligned and recoloured, differ nowhere much *and* have one embedding. Something
small laid over a copy differs much in one small place, and so does a clock that shows another hour: such pairs count
only where an original has few of them. Limits are calibrated on OpenMoji by bench/near_duplicates.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

import numpy as np
from PIL import Image, ImageOps

from expunge.corpus.catalog import Catalog
from expunge.corpus.hashes import BITS, distances, frames, perceptual_hashes
from expunge.near_duplicates.compare import Candidate, Original
from expunge.near_duplicates.pictures import has_structure
from expunge.near_duplicates.variants import declared_apart
from expunge.project.columns import strings

if TYPE_CHECKING:
    from expunge.selection.neighbours import Vectors

NEAR_BITS = 90
"""Pairs whose hashes differ in at most this many of 256 bits are compared; unrelated pictures differ in about 128."""
NEAR_COSINE = 0.95
"""Pairs whose embeddings have at least this cosine, mirrored or not, are compared as well."""
MAX_DIFFERENCE = 36.0
"""The greatest local difference of near-duplicates, 0 to 255."""
MIN_COSINE = 0.8
"""The least cosine of the two aligned pictures' embeddings."""
OVERLAY_SHARE = 0.03
OVERLAY_COSINE = 0.93
OVERLAY_CROWD = 3
"""How a copy with something laid over it is recognised: at most this share of it differs, the embeddings have at least
this cosine, and at most this many pictures resemble the original in this way."""
CACHED = 256

Encode = Callable[[Sequence[Image.Image]], np.ndarray]
"""RGB pictures → unit image embeddings, float32 [N, D]."""


class Decode(Protocol):
    """Decodes an encoded picture with limits; the second argument names it in errors."""

    def __call__(self, data: bytes, sample_id: str, /) -> Image.Image: ...


class NearDuplicate(NamedTuple):
    """A sample that looks like a selected one, and the evidence: cosine, differing bits of 256, local difference."""

    sample_id: str
    resembles: str
    cosine: float
    bits: int
    difference: float

    @property
    def reason(self) -> str:
        return (
            f"near-duplicate of {self.resembles} (embedding {self.cosine:.2f}, "
            f"hash {self.bits} of {BITS} bits, difference {self.difference:.0f} of 255)"
        )


@dataclass(frozen=True)
class Hashes:
    """Perceptual hashes of a catalog: `bits` is bool [N, 2, 256], one for each frame, in the order of `ids`."""

    ids: list[str]
    bits: np.ndarray


def near_duplicates(
    catalog: Catalog, selected: Set[str], excluded: Set[str], vectors: Vectors, encode: Encode, decode: Decode
) -> list[NearDuplicate]:
    """Samples, neither selected nor excluded, that are near-duplicates of selected ones, the closest first.

    Each comes with the selected sample that it differs from least. What the catalog declares to be another variant is
    not one: a preview lists it under its concept. Memory grows with the hashes of the catalog (64
    bytes a sample) and the pictures of the selected samples.
    """
    originals = {name: decode(data, name) for name, data in catalog.pictures(selected - excluded)}
    originals = {name: image for name, image in originals.items() if has_structure(image)}
    pairs = _pairs_worth_comparing(originals, _hashes(catalog, selected | excluded, decode), vectors, encode)
    pairs = _without_variants(catalog, pairs)

    @lru_cache(maxsize=CACHED)
    def original(name: str) -> Original:
        return Original(originals[name])

    found: list[NearDuplicate] = []
    overlaid: list[NearDuplicate] = []
    for name, data in catalog.pictures(pairs.keys()):
        candidate = Candidate(frames(decode(data, name)))
        best = min(
            ((original(of).difference(candidate), of, bits) for of, bits in pairs[name].items()), key=_by_difference
        )
        difference, of, bits = best
        alike = difference.worst <= MAX_DIFFERENCE
        if not alike and difference.share > OVERLAY_SHARE:
            continue
        left, right = encode([difference.aligned, difference.frame])
        if (cosine := float(left @ right)) >= (MIN_COSINE if alike else OVERLAY_COSINE):
            one = NearDuplicate(name, of, round(cosine, 6), bits, round(difference.worst, 3))
            (found if alike else overlaid).append(one)
    crowd = Counter(one.resembles for one in overlaid)
    found += [one for one in overlaid if crowd[one.resembles] <= OVERLAY_CROWD]
    return sorted(found, key=lambda one: (one.difference, one.sample_id))


def _without_variants(catalog: Catalog, pairs: dict[str, dict[str, int]]) -> dict[str, dict[str, int]]:
    concepts, variants = strings(catalog.metadata["concept"]), catalog.metadata["variant"].to_pylist()

    def declared(one: str, other: str) -> bool:
        left, right = catalog.row_of[one], catalog.row_of[other]
        return declared_apart(concepts[left], variants[left], concepts[right], variants[right])

    left = {name: {of: bits for of, bits in found.items() if not declared(name, of)} for name, found in pairs.items()}
    return {name: found for name, found in left.items() if found}


def _by_difference(found: tuple) -> tuple[float, str]:
    difference, of, _ = found
    return difference.worst, of


def _hashes(catalog: Catalog, without: Set[str], decode: Decode) -> Hashes:
    ids, bits = [], []
    for name, data in catalog.pictures(set(catalog.ids) - without):
        ids.append(name)
        bits.append(perceptual_hashes(frames(decode(data, name))))
    return Hashes(ids, np.stack(bits) if bits else np.empty((0, 2, BITS), bool))


def _pairs_worth_comparing(
    originals: Mapping[str, Image.Image], hashes: Hashes, vectors: Vectors, encode: Encode
) -> dict[str, dict[str, int]]:
    """Candidate → original → differing bits, for pairs that are near by hash or by embedding."""
    place = {name: row for row, name in enumerate(vectors.ids)}
    images = np.stack([vectors.images[place[name]] for name in hashes.ids]) if hashes.ids else np.empty((0, 0))
    pairs: dict[str, dict[str, int]] = {}
    for of, image in originals.items():
        views = perceptual_hashes([view.image() for view in Original(image).views])
        bits = np.min([distances(views, hashes.bits[:, frame]).min(axis=0) for frame in (0, 1)], axis=0)
        cosine = (encode([image, ImageOps.mirror(image)]) @ images.T).max(axis=0)
        for row in np.flatnonzero((bits <= NEAR_BITS) | (cosine >= NEAR_COSINE)):
            pairs.setdefault(hashes.ids[row], {})[of] = int(bits[row])
    return pairs
