"""FAISS indexes over an embedding store: exact inner product by default, addressed by stable ids.

The id of a vector is a hash of its sample id (`catalog.vector_id`), so it survives every rebuild. After a deletion an
index is rebuilt from the retained embeddings rather than edited: HNSW cannot remove, IVF and quantisers keep traces of
removed vectors in what they were trained on, and a Flat rebuild of 100,000 vectors takes 0.1 s. What an index that is
not exact finds of what is there is measured when it is built, and kept beside it.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import faiss
import numpy as np

from expunge.corpus.sample import vector_id
from expunge.project.errors import ExpungeError
from expunge.project.files import atomic_path, read_json, sha256_file, write_json
from expunge.project.scratch import blocks

ORIGIN = "origin.json"
AUTO = "auto"
EXACT = 100_000
QUANTISED = 10_000_000
"""Up to so many vectors `auto` searches exactly, and up to so many it keeps them as they are."""
TRAINED = 40
ROUNDS = 10
"""Vectors for each inverted list that its centre is found from, and rounds of k-means."""
ASKED = 256
DEPTH = 10
PROMISED = 0.98
"""With `auto`, the share of the ten nearest vectors that is found, measured with this many queries."""
BLOCK = 16384


def build_index(ids: list[str], vectors: np.ndarray, factory: str, nearest: Nearest | None = None) -> faiss.Index:
    """An index of `vectors` [N, D] (floats of any width) under the vector ids of `ids`; inner product.

    Args:
        factory: a factory string of FAISS, or `auto` (see `chosen_factory`).
        nearest: what `exact_search` found, by which `auto` sets how many inverted lists are looked into.

    Raises:
        ExpungeError: FAISS does not know the factory string or cannot train it on so few vectors, or two ids collide.
    """
    keys = np.array([vector_id(sample_id) for sample_id in ids], np.int64)
    if len(np.unique(keys)) != len(keys):
        raise ExpungeError("Two samples have the same vector id, and FAISS would keep both; sample ids must be unique.")
    description = chosen_factory(len(ids)) if factory == AUTO else factory
    try:
        inner = faiss.index_factory(vectors.shape[1], description, faiss.METRIC_INNER_PRODUCT)
        if not inner.is_trained:
            if factory == AUTO:
                _prepare(inner)
            inner.train(_share(vectors, TRAINED * _lists(inner)))
        index = faiss.IndexIDMap2(inner)
        for start, block in blocks(vectors, BLOCK):
            index.add_with_ids(np.ascontiguousarray(block, np.float32), keys[start : start + BLOCK])
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        raise ExpungeError(f"params.yaml, index.factory {factory!r}: FAISS cannot build it ({reason}).") from error
    if factory == AUTO and _lists(inner):
        _probe_enough(index, nearest or exact_search(ids, vectors))
    return index


def chosen_factory(count: int) -> str:
    """What `auto` stands for with `count` vectors.

    Exact search up to `EXACT` vectors; then inverted lists, the square root of the count of them as a power of two, of
    vectors in float16, as stores have them; beyond `QUANTISED` their centres are found by a graph, and vectors take a
    byte a dimension.
    """
    if count <= EXACT:
        return "Flat"
    lists = 2 ** round(math.log2(math.sqrt(count)))
    return f"IVF{lists},SQfp16" if count <= QUANTISED else f"IVF{lists}_HNSW32,SQ8"


def _prepare(index: faiss.Index) -> None:
    """Before an index of `auto` is trained: a few rounds settle the centres of its inverted lists, and what these hold
    in float16 are the vectors, bit by bit, and not what they differ by from their centres."""
    inverted = faiss.extract_index_ivf(index)
    inverted.cp.niter = ROUNDS
    quantiser = faiss.downcast_index(inverted).sq  # type: ignore[attr-defined]  # of inverted lists of scalars
    inverted.by_residual = quantiser.qtype != faiss.ScalarQuantizer.QT_fp16


@dataclass(frozen=True)
class Nearest:
    """What exact search finds: `keys` int64 [Q, K], vector ids from the nearest on, for `queries` float32 [Q, D]."""

    queries: np.ndarray
    keys: np.ndarray


def exact_search(ids: list[str], vectors: np.ndarray) -> Nearest:
    """The `DEPTH` vectors of [N, D] nearest to each of `ASKED` of them, evenly spread; block by block."""
    keys = np.array([vector_id(sample_id) for sample_id in ids], np.int64)
    queries = _share(vectors, ASKED)
    depth = min(DEPTH, len(keys))
    nearest, best = np.empty((len(queries), 0), np.int64), np.empty((len(queries), 0), np.float32)
    for start, block in blocks(vectors, BLOCK):
        found, places = faiss.knn(
            queries, np.asarray(block, np.float32), min(depth, len(block)), metric=faiss.METRIC_INNER_PRODUCT
        )
        both = np.concatenate([best, found], axis=1)
        names = np.concatenate([nearest, keys[start + places]], axis=1)
        order = np.argsort(-both, axis=1, kind="stable")[:, :depth]
        best, nearest = np.take_along_axis(both, order, axis=1), np.take_along_axis(names, order, axis=1)
    return Nearest(queries, nearest)


def recall_of(index: faiss.Index, nearest: Nearest) -> float:
    """Share of what exact search finds that `index` finds too, in [0, 1]."""
    found, _ = search_index(index, nearest.queries, nearest.keys.shape[1])
    return float(np.mean([np.isin(right, given).mean() for right, given in zip(nearest.keys, found, strict=True)]))


def _probe_enough(index: faiss.Index, nearest: Nearest) -> None:
    """Have an index of inverted lists look into as many of them as the recall that `auto` promises takes."""
    lists = _lists(index)
    for probes in [2**power for power in range(lists.bit_length())]:
        faiss.extract_index_ivf(index).nprobe = probes
        if recall_of(index, nearest) >= PROMISED:
            return


def _lists(index: faiss.Index) -> int:
    """The number of an index's inverted lists, 0 where it has none."""
    inverted = faiss.try_extract_index_ivf(index)
    return inverted.nlist if inverted is not None else 0


def _share(vectors: np.ndarray, most: int) -> np.ndarray:
    """At most `most` of `vectors`, evenly spread, float32; all of them where `most` is 0."""
    rows = np.unique(np.linspace(0, len(vectors) - 1, min(most or len(vectors), len(vectors))).astype(np.int64))
    return np.ascontiguousarray(vectors[rows], np.float32)


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


def write_origin(folder: Path, model: str, recall: Mapping[str, float] | None = None) -> None:
    """Note beside the indexes in `folder` which model (hex SHA-256) made their vectors: FAISS keeps no metadata.

    Args:
        recall: of each index by its file's name, see `recall_of`.
    """
    indexes = {path.name: sha256_file(path) for path in sorted(Path(folder).glob("*.faiss"))}
    write_json(Path(folder) / ORIGIN, {"model": model, "indexes": indexes, "recall": dict(recall or {})})


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
