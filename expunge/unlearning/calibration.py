"""How similar an image and its caption would be had the model never seen the pair, estimated without retraining.

Held-out pairs are never-seen pairs of the same corpus, and the parent's similarity of each is known. Three things
decide it: how close the caption is to captions that were trained on, how much of what it says is known at all, and
whether the picture is where one who knows only the other captions would look for it. So the similarity of held-out
pairs is regressed on these three, measured against the pairs that stay, and predicted for the pairs to be forgotten.

Where one would look is told by a stand-in for the text tower that has never seen the pair: kernel ridge regression
from captions to the parent's image embeddings, fitted to the pairs that stay. The parent's own text embeddings cannot
serve, since those of forgotten pairs were shaped by training on them.

Measured on the embedded corpus, mean distance to the gold standard's similarity over six validation sets: 0.04, and
0.08 without the stand-in. Single pairs correlate with the gold standard at 0.3 to 0.8 (docs/log.md).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Protocol

import numpy as np
import torch
from scipy.sparse import csr_matrix, vstack
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize
from torch import Tensor

from expunge.corpus.splits import FEWEST
from expunge.project.errors import ExpungeError
from expunge.project.scratch import blocks
from expunge.unlearning.problem import Seen

MOST = 5000
"""The stand-in solves a linear system as large as the pairs that it is fitted to; of more pairs than this it takes an
even share, in a second. A regression on three properties needs no more held-out pairs either."""
QUERIES = 256
TILE = 4096
"""Captions on each side of one product of TF-IDF vectors, so that memory does not grow with the catalog."""

DIGITS = 4
"""Far below the error of the estimate, far above what two builds of a linear algebra library differ by, so that the
bits of a model do not depend on which one solved the regression."""


class Known(Protocol):
    """Pairs that stay in training: canonical captions, and unit image embeddings [N, D]."""

    @property
    def captions(self) -> Sequence[str]: ...

    @property
    def images(self) -> Tensor: ...


def never_seen_level(forget: Seen, held_out: Seen, remaining: Known) -> np.ndarray:
    """Expected cosine of each forget pair under a model that never saw it.

    Args:
        forget: F pairs to forget.
        held_out: H pairs that were never trained on.
        remaining: all pairs that stay in training.

    Returns:
        [F], within the range of the held-out pairs' cosines, to `DIGITS` decimals.

    Raises:
        ExpungeError: there are fewer than `FEWEST` held-out pairs to estimate from.
    """
    if len(held_out.captions) < FEWEST:
        raise ExpungeError(
            f"{len(held_out.captions)} held-out pairs are too few to calibrate with ({FEWEST} needed); raise "
            "catalog.holdout.calibration, or choose another method."
        )
    told = held_out.at(even_share(len(held_out.captions), MOST))
    known = told.similarities.numpy()
    regression = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 25)))
    described, asked = _Properties(remaining)(told, forget)
    regression.fit(described, known)
    level = np.clip(regression.predict(asked), known.min(), known.max())
    return np.round(level, DIGITS)


class _Properties:
    """What decides how easy an unseen pair is: [nearest caption, share that is known, agreement], each at most 1.

    - cosine of the caption to the nearest remaining one, of TF-IDF vectors of character 2- to 4-grams within words;
    - share of its words that remaining captions have, each word weighted by its inverse document frequency;
    - cosine of its image embedding and the stand-in's guess.
    """

    def __init__(self, remaining: Known) -> None:
        self.captions = remaining.captions
        self.grams = fitted_grams(remaining.captions)
        self.count = len(remaining.captions)
        self.frequency = Counter(word for caption in remaining.captions for word in set(_words(caption)))
        fitted = even_share(self.count, MOST)
        self.centre = _mean(remaining.images)
        images = remaining.images[torch.from_numpy(fitted)].float().numpy()
        vectors = self.grams.transform([remaining.captions[row] for row in fitted])
        self.stand_in = KernelRidge(alpha=1.0).fit(vectors, images - self.centre)

    def __call__(self, *asked: Seen) -> list[np.ndarray]:
        """Of several sets of pairs at a time, since each pass over the remaining captions takes a while."""
        vectors = [self.grams.transform(pairs.captions) for pairs in asked]
        tiles = (self.grams.transform(self.captions[at : at + TILE]) for at in range(0, self.count, TILE))
        nearest = nearest_cosine(vstack(vectors, "csr"), tiles)
        ends = np.cumsum([len(pairs.captions) for pairs in asked])
        return [
            np.column_stack(
                [near, [self._known(_words(caption)) for caption in pairs.captions], self._agreement(pairs, told)]
            )
            for pairs, told, near in zip(asked, vectors, np.split(nearest, ends[:-1]), strict=True)
        ]

    def _agreement(self, pairs: Seen, vectors: csr_matrix) -> np.ndarray:
        guesses = normalize(self.stand_in.predict(vectors) + self.centre)
        return (guesses * pairs.images.float().numpy()).sum(axis=1)

    def _known(self, words: Sequence[str]) -> float:
        weights = {word: np.log((self.count + 1) / (self.frequency[word] + 1)) for word in words}
        total = sum(weights[word] for word in words)
        return sum(weights[word] for word in words if self.frequency[word]) / total if total else 1.0


def fitted_grams(captions: Sequence[str]) -> TfidfVectorizer:
    """A TF-IDF of character 2- to 4-grams within words, as `fit` would have it, which would hold the counts of all
    captions at a time: 1 kB and more of each."""
    grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    analyse, frequency = grams.build_analyzer(), Counter[str]()
    for caption in captions:
        frequency.update(set(analyse(caption)))
    vocabulary = sorted(frequency)
    grams.set_params(vocabulary=vocabulary)
    documents = np.array([frequency[gram] for gram in vocabulary], np.float32) + 1
    grams.idf_ = np.log(np.float32(len(captions) + 1) / documents) + 1
    return grams


def nearest_cosine(queries: csr_matrix, tiles: Iterable[csr_matrix]) -> np.ndarray:
    """The greatest product of each row of `queries` [Q, V] with a row of any of `tiles` [n, V], float32 [Q]."""
    found = np.zeros(queries.shape[0], np.float32)
    for tile in tiles:
        columns = tile.T.tocsr()
        for first in range(0, queries.shape[0], QUERIES):
            here = slice(first, first + QUERIES)
            best = (queries[here] @ columns).max(axis=1).toarray().ravel()
            np.maximum(found[here], best, out=found[here])
    return found


def even_share(count: int, most: int) -> np.ndarray:
    """At most `most` of the numbers 0 … count - 1, evenly spread, int64."""
    return np.unique(np.linspace(0, count - 1, min(count, most)).astype(np.int64))


def _mean(vectors: Tensor) -> np.ndarray:
    """Mean of the rows of [N, D], float32 [D], summed in double precision block by block."""
    total = torch.zeros(vectors.shape[1], dtype=torch.float64)
    for _, block in blocks(vectors, TILE):
        total += block.double().sum(dim=0)
    return (total / len(vectors)).float().numpy()


def _words(caption: str) -> list[str]:
    return [stripped for word in caption.casefold().split() if (stripped := word.strip(".,:;!?"))]
