"""Near-duplicates in a catalog of the samples that a request selects.

Two looks from afar choose the pairs worth comparing (`candidates.py`): the perceptual hash under the usual views (blind
to colour, sharp on structure) and the model's image embedding, also of the mirror image (knows what is shown, survives
noise). A pair is a near-duplicate when the pictures, aligned and recoloured, differ nowhere much *and* have one
embedding. Something small laid over a copy differs much in one small place, and so does a clock that shows another
hour: such pairs count only where an original has few of them. Limits are calibrated on OpenMoji by
bench/near_duplicates.py.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Set
from functools import lru_cache
from typing import TYPE_CHECKING, NamedTuple, Protocol

from PIL import Image

from expunge.corpus.catalog import Catalog
from expunge.corpus.hashes import BITS, frames
from expunge.near_duplicates.candidates import Apart, Encode, pairs_worth_comparing, read_hashes
from expunge.near_duplicates.compare import Candidate, Original
from expunge.near_duplicates.pictures import has_structure
from expunge.near_duplicates.variants import declared_apart
from expunge.project.progress import progress

if TYPE_CHECKING:
    from expunge.selection.neighbours import Vectors

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


def near_duplicates(
    catalog: Catalog, selected: Set[str], excluded: Set[str], vectors: Vectors, encode: Encode, decode: Decode
) -> list[NearDuplicate]:
    """Samples, neither selected nor excluded, that are near-duplicates of selected ones, the closest first.

    Each comes with the selected sample that it differs from least. What the catalog declares to be another variant is
    not one: a preview lists it under its concept. Memory grows with ids and hashes of the catalog (64 bytes a sample)
    and the pictures of the selected samples; pictures are decoded of these and of what is worth comparing.
    """
    originals = {name: decode(data, name) for name, data in catalog.pictures(selected - excluded)}
    originals = {name: image for name, image in originals.items() if has_structure(image)}
    without = selected | excluded
    apart, hashes = _declared(catalog), read_hashes(catalog, without)
    pairs = pairs_worth_comparing(originals, hashes, vectors, without, apart, encode)

    @lru_cache(maxsize=CACHED)
    def original(name: str) -> Original:
        return Original(originals[name])

    found: list[NearDuplicate] = []
    overlaid: list[NearDuplicate] = []
    with progress("compare with what looks alike") as report:
        for number, (name, data) in enumerate(catalog.pictures(pairs.keys()), 1):
            report(number, len(pairs))
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


def _declared(catalog: Catalog) -> Apart:
    """Whether the catalog says of two of its samples that they are variants of one another."""
    concepts, variants = catalog.metadata["concept"], catalog.metadata["variant"]

    def declared(one: str, other: str) -> bool:
        left, right = catalog.row_of[one], catalog.row_of[other]
        return declared_apart(
            str(concepts[left]), variants[left].as_py(), str(concepts[right]), variants[right].as_py()
        )

    return declared


def _by_difference(found: tuple) -> tuple[float, str]:
    difference, of, _ = found
    return difference.worst, of
