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
from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.kernel_ridge import KernelRidge
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler, normalize

from expunge.project.errors import ExpungeError
from expunge.unlearning.problem import Seen

FEWEST = 20
"""With fewer held-out pairs a regression on three properties is not worth its name."""
MOST = 5000
"""The stand-in solves a linear system as large as the pairs that it is fitted to; of more pairs than this it takes an
even share, in a second."""

DIGITS = 4
"""Far below the error of the estimate, far above what two builds of a linear algebra library differ by, so that the
bits of a model do not depend on which one solved the regression."""


def never_seen_level(forget: Seen, held_out: Seen, remaining: Seen) -> np.ndarray:
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
    known = held_out.similarities.numpy()
    properties = _Properties(remaining)
    regression = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 25)))
    regression.fit(properties(held_out), known)
    level = np.clip(regression.predict(properties(forget)), known.min(), known.max())
    return np.round(level, DIGITS)


class _Properties:
    """What decides how easy an unseen pair is: [nearest caption, share that is known, agreement], each at most 1.

    - cosine of the caption to the nearest remaining one, of TF-IDF vectors of character 2- to 4-grams within words;
    - share of its words that remaining captions have, each word weighted by its inverse document frequency;
    - cosine of its image embedding and the stand-in's guess.
    """

    def __init__(self, remaining: Seen) -> None:
        self.grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
        self.vectors = self.grams.fit_transform(remaining.captions)
        self.count = len(remaining.captions)
        self.frequency = Counter(word for caption in remaining.captions for word in set(_words(caption)))
        fitted = np.unique(np.linspace(0, self.count - 1, min(self.count, MOST)).astype(int))
        images = remaining.images.numpy()
        self.centre = images.mean(axis=0)
        self.stand_in = KernelRidge(alpha=1.0).fit(self.vectors[fitted], images[fitted] - self.centre)

    def __call__(self, pairs: Seen) -> np.ndarray:
        vectors = self.grams.transform(pairs.captions)
        nearest = (vectors @ self.vectors.T).max(axis=1).toarray().ravel()
        guesses = normalize(self.stand_in.predict(vectors) + self.centre)
        agreement = (guesses * pairs.images.numpy()).sum(axis=1)
        return np.column_stack([nearest, [self._known(_words(caption)) for caption in pairs.captions], agreement])

    def _known(self, words: Sequence[str]) -> float:
        weights = {word: np.log((self.count + 1) / (self.frequency[word] + 1)) for word in words}
        total = sum(weights[word] for word in words)
        return sum(weights[word] for word in words if self.frequency[word]) / total if total else 1.0


def _words(caption: str) -> list[str]:
    return [stripped for word in caption.casefold().split() if (stripped := word.strip(".,:;!?"))]
