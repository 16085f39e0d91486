"""Neighbours of a forget set: which retained samples must guard a release."""

from __future__ import annotations

from collections.abc import Sequence, Set
from typing import Protocol

import numpy as np

from expunge.project.errors import ExpungeError
from expunge.project.scratch import blocks
from expunge.selection.sets import RetainRow

BLOCK = 4096
"""Rows on each side of one block of similarities: 64 MiB of float32."""


class Vectors(Protocol):
    """Embeddings of one release: `images` and `texts` are float32 [N, D] in the order of `ids`."""

    @property
    def ids(self) -> Sequence[str]: ...

    @property
    def images(self) -> np.ndarray: ...

    @property
    def texts(self) -> np.ndarray: ...


def choose_retain(
    ids: Sequence[str],
    splits: Sequence[str],
    image_embeddings: np.ndarray,
    text_embeddings: np.ndarray,
    forget: Set[str],
    neighbours: int,
    random: int,
    seed: int,
) -> list[RetainRow]:
    """The training samples nearest to the forget set, and a random part of the others.

    Nearness is the greatest mean of image-image and text-text cosine with a forget sample. Ties go to the smaller
    id; where there are fewer samples than asked for, all are taken.

    Args:
        ids, splits, image_embeddings, text_embeddings: one entry or row ([N, D]) a sample of the release.
        forget: every forgotten sample, those of earlier releases included; none is ever retained.

    Raises:
        ExpungeError: none of `forget` has an embedding, or embeddings are not finite.
    """
    targets = np.array([row for row, sample_id in enumerate(ids) if sample_id in forget], dtype=np.int64)
    rows = np.array(
        [
            row
            for row, (sample_id, split) in enumerate(zip(ids, splits, strict=True))
            if split == "train" and sample_id not in forget
        ],
        dtype=np.int64,
    )
    if not len(targets):
        raise ExpungeError("None of the samples to forget has an embedding; run `dvc repro` to embed the parent.")
    scores, _ = nearest([image_embeddings, text_embeddings], rows, targets)
    names = [ids[row] for row in rows.tolist()]
    order = sorted(range(len(rows)), key=lambda place: (-scores[place], names[place]))
    near = [RetainRow(names[place], "neighbours", float(scores[place])) for place in order[:neighbours]]
    rest = sorted(names[place] for place in order[neighbours:])
    drawn = np.random.default_rng(seed).choice(len(rest), size=min(random, len(rest)), replace=False)
    return near + [RetainRow(rest[place], "random", None) for place in sorted(drawn)]


def nearest(parts: Sequence[np.ndarray], rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `rows`, the greatest mean cosine over `parts` ([N, D] each) with one of `targets`, and which one.

    Works in blocks, so memory does not grow with the catalog. Scores are rounded to six decimals: float32 sums
    differ in the seventh with the place in a block, and equal pictures must tie.

    Raises:
        ExpungeError: an embedding is not finite.
    """
    best = np.full(len(rows), -np.inf, dtype=np.float32)
    which = np.zeros(len(rows), dtype=np.int64)
    for left in range(0, len(targets), BLOCK):
        reference = _unit(parts, targets[left : left + BLOCK]).T
        for start, chosen in blocks(rows, BLOCK):
            block = slice(start, start + BLOCK)
            similarity = _unit(parts, chosen) @ reference
            place = similarity.argmax(axis=1)
            score = similarity[np.arange(len(place)), place]
            better = score > best[block]
            best[block][better] = score[better]
            which[block][better] = targets[left + place[better]]
    return best.astype(np.float64).round(6), which


def _unit(parts: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Unit vectors side by side, scaled so that a dot product is the mean of the parts' cosines."""
    units = []
    for part in parts:
        vectors = np.asarray(part[rows], dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise ExpungeError("The embeddings hold values that are not finite; run `dvc repro -f` to embed again.")
        units.append(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
    return np.hstack(units) / np.float32(np.sqrt(len(parts)))
