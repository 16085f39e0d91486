"""Search in a release: the embeddings and scores that selectors, previews and people ask for."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from expunge.corpus.catalog import Catalog
from expunge.corpus.sample import vector_id
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.reading import read_plain

MAX_PICTURE = 64 << 20
"""An example of more bytes is not read."""
BLOCK = 8192
"""Vectors that are scored at a time."""

if TYPE_CHECKING:
    import faiss
    import numpy as np
    from PIL.Image import Image

    from expunge.embeddings.store import Embeddings


class Hit(NamedTuple):
    """One picture that a search found; `score` is a cosine."""

    sample_id: str
    class_name: str
    caption: str
    score: float


def search_images(
    paths: Paths,
    release: str,
    count: int,
    *,
    text: str | None = None,
    sample_id: str | None = None,
    image: Path | None = None,
) -> list[Hit]:
    """The `count` pictures of `release` nearest to exactly one of a text, a sample or an image file, best first.

    Raises:
        ExpungeError: the release is not built, does not hold the sample, or the file is not an image.
    """
    from expunge.embeddings.index import search_index

    query = _query(paths, release, text, sample_id, image)
    index = load_index(paths, release, "image")
    keys, scores = search_index(index, query[None], count)
    score_of = {key: score for key, score in zip(keys[0].tolist(), scores[0].tolist(), strict=True) if key >= 0}
    found = {vector_id(row["sample_id"]): row for row in _rows_at(paths, release, index, list(score_of))}
    if found.keys() != score_of.keys():
        raise ExpungeError(f"The image index of {release} holds other samples than its embeddings; run `dvc repro`.")
    return [
        Hit(found[key]["sample_id"], found[key]["class"], found[key]["caption"], round(score, 6))
        for key, score in score_of.items()
    ]


def _rows_at(paths: Paths, release: str, index: faiss.Index, keys: Sequence[int]) -> Iterator[dict[str, str]]:
    """What the catalog says of the samples with these vector ids, which `index` holds in the order of the store.

    Only the shards that hold them are read.
    """
    import numpy as np

    from expunge.embeddings.index import index_ids
    from expunge.embeddings.store import sample_ids_at
    from expunge.models.clip import model_digest

    order = index_ids(index)
    places = np.flatnonzero(np.isin(order, np.array(keys, np.int64)))
    catalog = Catalog(paths.catalog)
    where = paths.release(release)
    for shard, names in sample_ids_at(where.embeddings, catalog, places, model_digest(where.model)):
        table = catalog.read_shard(shard, ["sample_id", "class", "caption"])
        yield from table.filter(pc.is_in(table["sample_id"], value_set=pa.array(names))).to_pylist()


def _query(paths: Paths, release: str, text: str | None, sample_id: str | None, image: Path | None) -> np.ndarray:
    import numpy as np

    if sample_id is not None:
        store = load_embeddings(paths, release)
        if sample_id not in store.ids:
            raise ExpungeError(f"Release {release} holds no sample {sample_id}.")
        return store.images[store.ids.index(sample_id)].astype(np.float32)
    from expunge.corpus.pictures import decode_image
    from expunge.models import clip

    model = clip.load(paths.release(release).model)
    if text is not None:
        return model.encode_texts([text])[0].numpy()
    if image is None or not image.is_file():
        raise ExpungeError(f"There is no file {image}.")
    picture = decode_image(read_plain(image, MAX_PICTURE), str(image))
    return model.encode_images(model.to_uint8(model.preprocess(picture))[None])[0].numpy()


def load_embeddings(paths: Paths, release: str) -> Embeddings:
    """The embedding store of `release`, checked against the model that the release holds now.

    Raises:
        ExpungeError: the store is missing, damaged or was made by another model.
    """
    from expunge.embeddings.store import read_embeddings
    from expunge.models.clip import model_digest

    store = read_embeddings(paths.release(release).embeddings, Catalog(paths.catalog))
    if store.model != model_digest(paths.release(release).model):
        raise ExpungeError(f"The embeddings of {release} were made by another model; run `dvc repro`.")
    return store


def load_index(paths: Paths, release: str, side: str) -> faiss.Index:
    """The `image` or `text` index of `release`, checked against the model that the release holds now.

    Raises:
        ExpungeError: the index is missing, damaged or was built from another model's vectors.
    """
    from expunge.embeddings.index import check_origin, read_index
    from expunge.models.clip import model_digest

    path = paths.release(release).index / f"{side}.faiss"
    index = read_index(path)
    check_origin(path, model_digest(paths.release(release).model))
    return index


def text_scores(paths: Paths, release: str, text: str) -> dict[str, float]:
    """Cosine of `text` with every image of `release`, by sample id."""
    from expunge.models import clip

    store = load_embeddings(paths, release)
    query = clip.load(paths.release(release).model).encode_texts([text])[0].numpy()
    return dict(zip(store.ids, _cosines(store.images, query).tolist(), strict=True))


def image_scores(paths: Paths, release: str, picture: bytes) -> dict[str, float]:
    """Cosine of an encoded picture with every image of `release`, by sample id.

    Raises:
        ExpungeError: it is not an image, or is larger than the limit.
    """
    from expunge.corpus.pictures import decode_image

    store = load_embeddings(paths, release)
    query = picture_encoder(paths, release)([decode_image(picture, "the example")])[0]
    return dict(zip(store.ids, _cosines(store.images, query).tolist(), strict=True))


def _cosines(vectors: np.ndarray, query: np.ndarray) -> np.ndarray:
    """Cosine of `query` with each of the unit float16 `vectors` [N, D], float32 [N], a block at a time."""
    import numpy as np

    from expunge.project.scratch import blocks

    found = np.empty(len(vectors), np.float32)
    for start, block in blocks(vectors, BLOCK):
        found[start : start + BLOCK] = block.astype(np.float32) @ query
    return found


def picture_encoder(paths: Paths, release: str) -> Callable[[Sequence[Image]], np.ndarray]:
    """Encodes pictures with the model of `release`: unit embeddings, float32 [N, D]."""
    import torch

    from expunge.models import clip

    model = clip.load(paths.release(release).model)

    def encode(pictures: Sequence[Image]) -> np.ndarray:
        pixels = torch.stack([model.to_uint8(model.preprocess(picture)) for picture in pictures])
        return model.encode_images(pixels).numpy()

    return encode
