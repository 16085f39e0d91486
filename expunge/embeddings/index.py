"""FAISS indexes over an embedding store: exact inner product by default, addressed by stable ids.

The id of a vector is a hash of its sample id (`catalog.vector_id`), so it survives every rebuild. After a deletion an
index is rebuilt from the retained embeddings rather than edited: HNSW cannot remove, IVF and quantisers keep traces of
removed vectors in what they were trained on, and a Flat rebuild of 100,000 vectors takes 0.1 s.
"""

from __future__ import annotations

from pathlib import Path

import faiss
import numpy as np

from expunge.corpus.sample import vector_id
from expunge.project.errors import ExpungeError
from expunge.project.files import atomic_path, read_json, sha256_file, write_json

ORIGIN = "origin.json"


def build_index(ids: list[str], vectors: np.ndarray, factory: str) -> faiss.Index:
    """An index of float32 `vectors` [N, D] under the vector ids of `ids`; inner product.

    Raises:
        ExpungeError: FAISS does not know the factory string or cannot train it on so few vectors, or two ids collide.
    """
    keys = np.array([vector_id(sample_id) for sample_id in ids], np.int64)
    if len(np.unique(keys)) != len(keys):
        raise ExpungeError("Two samples have the same vector id, and FAISS would keep both; sample ids must be unique.")
    try:
        inner = faiss.index_factory(vectors.shape[1], factory, faiss.METRIC_INNER_PRODUCT)
        if not inner.is_trained:
            inner.train(vectors)
        index = faiss.IndexIDMap2(inner)
        index.add_with_ids(vectors, keys)
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ExpungeError(f"params.yaml, index.factory {factory!r}: FAISS cannot build it ({reason}).") from error
    return index


def search_index(index: faiss.Index, queries: np.ndarray, count: int) -> tuple[np.ndarray, np.ndarray]:
    """The `count` best vector ids and scores for float32 queries [Q, D]: two arrays [Q, count], best first.

    Ids are -1 where the index holds fewer vectors.
    """
    scores, keys = index.search(np.ascontiguousarray(queries, np.float32), count)
    return keys, scores


def write_index(index: faiss.Index, path: Path) -> None:
    """Write an index atomically; the same vectors give the same bytes."""
    with atomic_path(path) as partial:
        faiss.write_index(index, str(partial))


def write_origin(folder: Path, model: str) -> None:
    """Note beside the indexes in `folder` which model (hex SHA-256) made their vectors: FAISS keeps no metadata."""
    indexes = {path.name: sha256_file(path) for path in sorted(Path(folder).glob("*.faiss"))}
    write_json(Path(folder) / ORIGIN, {"model": model, "indexes": indexes})


def check_origin(path: Path, model: str) -> None:
    """Raises `ExpungeError` unless the index at `path` was built from vectors of `model`, and is still that index."""
    origin = read_json(path.parent / ORIGIN)
    if origin["model"] != model:
        raise ExpungeError(f"{path} was built from vectors of another model than its release's; run `dvc repro`.")
    if origin["indexes"].get(path.name) != sha256_file(path):
        raise ExpungeError(f"{path} is not the index that was built here; run `dvc repro` to build it again.")


def read_index(path: Path) -> faiss.Index:
    """Read an index.

    Raises:
        ExpungeError: the file is missing or is not an index.
    """
    if not Path(path).is_file():
        raise ExpungeError(f"{path} is missing; run `dvc repro` to build the index.")
    try:
        return faiss.read_index(str(path))
    except RuntimeError as error:
        raise ExpungeError(f"{path} is truncated or damaged; delete it and run `dvc repro`.") from error


def index_ids(index: faiss.Index) -> np.ndarray:
    """All vector ids of an index, int64 [N]."""
    return faiss.vector_to_array(faiss.downcast_index(index).id_map)  # type: ignore[attr-defined]  # of an IndexIDMap
