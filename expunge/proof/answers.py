"""Does a release's index still answer for what it has forgotten? Asked with captions, pictures and altered pictures.

Two things must hold. No forgotten sample has a vector in either index: that is checked by id, and goes on holding after
a purge. And while the catalog still has the forgotten samples to ask with, none of them, and no picture that looks the
same as one, is among the nearest hits of its captions, of its picture, or of that picture mirrored or cropped.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from PIL import ImageOps

from expunge.corpus.catalog import Catalog
from expunge.corpus.hashes import distances, perceptual_hash, standard
from expunge.corpus.pictures import decode_image
from expunge.corpus.sample import vector_id
from expunge.embeddings.index import index_ids, search_index
from expunge.embeddings.search import load_index, picture_encoder
from expunge.models import clip
from expunge.near_duplicates.pictures import has_structure
from expunge.near_duplicates.variants import declared_apart
from expunge.project.paths import Paths
from expunge.selection.sets import read_forget

DEPTH = 10
SAME_BITS = 10
"""Pictures whose perceptual hashes differ in no more of 256 bits look the same, colour apart."""
CROP = 0.1


@dataclass(frozen=True)
class Answers:
    """What the indexes of a release answered.

    Attributes:
        forgotten: how many samples must not be found.
        queries: how many captions and pictures were asked with; 0 once a purge has removed them.
        indexed: forgotten samples that still have a vector.
        look_alikes: retained samples among the hits that look the same as the forgotten picture that was asked with.
    """

    forgotten: int
    queries: int
    indexed: list[str]
    look_alikes: list[str]


def ask(paths: Paths, release: str) -> Answers:
    """Query the indexes of `release` with everything that it and its ancestors have forgotten.

    Raises:
        ExpungeError: an index, the model or the forget set is missing or was made from something else.
    """
    catalog = Catalog(paths.catalog)
    forgotten = {row.sample_id for row in read_forget(paths.release(release).forget)}
    images, texts = load_index(paths, release, "image"), load_index(paths, release, "text")
    held = set(index_ids(images).tolist()) | set(index_ids(texts).tolist())
    name_of = {vector_id(name): name for name in catalog.ids}
    indexed = sorted(name for name in forgotten if vector_id(name) in held)
    encode, model = picture_encoder(paths, release), clip.load(paths.release(release).model)
    queries, found = 0, set()
    for row in _rows(catalog, forgotten):
        picture = decode_image(row["image"], row["sample_id"])
        pictures = encode([picture, ImageOps.mirror(picture), ImageOps.crop(picture, round(CROP * picture.width))])
        captions = model.encode_texts([caption["text"] for caption in row["captions"]]).numpy()
        asked = np.concatenate([pictures, captions])
        hits = {key for index in (images, texts) for key in search_index(index, asked, DEPTH)[0].ravel().tolist()}
        found |= {(row["sample_id"], name_of[key]) for key in hits if key in name_of}
        queries += len(asked)
    return Answers(len(forgotten), queries, indexed, _same(catalog, found))


def _same(catalog: Catalog, found: set[tuple[str, str]]) -> list[str]:
    """The hits that look the same as what was asked with, unless the catalog says that they are other variants."""
    declared = dict(zip(catalog.ids, catalog.metadata.select(["concept", "variant"]).to_pylist(), strict=True))
    names = {name for pair in found for name in pair}
    pictures = {row["sample_id"]: standard(decode_image(row["image"], "")) for row in _rows(catalog, names)}
    hashes = {name: perceptual_hash(picture) for name, picture in pictures.items() if has_structure(picture)}
    return sorted(
        {
            hit
            for asked, hit in found
            if asked in hashes
            and hit in hashes
            and not declared_apart(*declared[asked].values(), *declared[hit].values())
            and distances(hashes[asked][None], hashes[hit][None])[0, 0] <= SAME_BITS
        }
    )


def _rows(catalog: Catalog, ids: set[str]) -> Iterator[dict]:
    for table in catalog.tables(["sample_id", "captions", "image"]):
        yield from (row for row in table.to_pylist() if row["sample_id"] in ids)
