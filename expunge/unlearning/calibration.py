"""How similar an image and its caption would be had the model never seen the pair, estimated without retraining.

Held-out pairs are never-seen pairs of the same corpus, and the parent's similarity of each is known. It depends on how
much of the caption the training data covers: "woman running: dark skin tone" is easy when four other tones were
trained on, "pineapple" is hopeless when no fruit was. So the similarity of held-out pairs is regressed on three
properties of their captions relative to the captions that stay in training, and predicted for the pairs to be
forgotten. Embeddings cannot serve as regressors: those of forgotten pairs were shaped by training on them.

Measured on the embedded corpus: the mean over held-out pairs misses the gold standard's mean similarity of forgotten
pairs by 0.33, this estimate by 0.03 (docs/log.md).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import RidgeCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from expunge.errors import ExpungeError

FEWEST = 20
"""With fewer held-out pairs a regression on three properties is not worth its name."""


def never_seen_level(
    forget: Sequence[str], held_out: Sequence[str], held_out_similarities: np.ndarray, retained: Sequence[str]
) -> np.ndarray:
    """Expected cosine of each forget pair under a model that never saw it.

    Args:
        forget: canonical captions of the F pairs to forget.
        held_out: canonical captions of H pairs that were never trained on.
        held_out_similarities: the parent's cosine of those, [H].
        retained: canonical captions of all pairs that stay in training.

    Returns:
        [F], within the range of `held_out_similarities`.

    Raises:
        ExpungeError: there are fewer than `FEWEST` held-out pairs to estimate from.
    """
    if len(held_out) < FEWEST:
        raise ExpungeError(
            f"{len(held_out)} held-out pairs are too few to calibrate with ({FEWEST} needed); raise "
            "catalog.holdout.calibration, or choose another method."
        )
    coverage = _Coverage(retained)
    regression = make_pipeline(StandardScaler(), RidgeCV(np.logspace(-3, 3, 25)))
    regression.fit(coverage(held_out), held_out_similarities)
    return np.clip(regression.predict(coverage(forget)), held_out_similarities.min(), held_out_similarities.max())


class _Coverage:
    """How much of a caption the retained captions cover: [similarity to the nearest one, share of known words, words].

    The similarity is the cosine of TF-IDF vectors of character 2- to 4-grams inside word boundaries.
    """

    def __init__(self, retained: Sequence[str]) -> None:
        self.grams = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
        self.retained = self.grams.fit_transform(retained)
        self.words = {word for caption in retained for word in caption.casefold().split()}

    def __call__(self, captions: Sequence[str]) -> np.ndarray:
        nearest = (self.grams.transform(captions) @ self.retained.T).max(axis=1).toarray().ravel()
        words = [caption.casefold().split() for caption in captions]
        known = [sum(word in self.words for word in caption) / len(caption) for caption in words]
        return np.column_stack([nearest, known, [len(caption) for caption in words]])
