"""Has the model lost the forgotten associations, and only those? The protocol of SALMUBench (arXiv 2603.26316).

There, persons are tied to private facts. Three sets of pairs are told apart: `forget`; `holdout_association`, other
facts of the same persons; `holdout_identity`, facts of other persons. The formulas follow the paper's description:
    RetFail      mean over forget images of 1 / rank of the right caption among all association captions (MRR);
    AssocStr     mean cosine of the forget pairs;
    ACS          accuracy of a logistic regression on the cosine, cross-validated, at telling the forget pairs from
                 the same images with shuffled captions, mean over shuffles; 0.5 is chance;
    IntraIdSim   mean cosine of the pairs of holdout_association;
    InterIdSim   mean cosine of the pairs of holdout_identity.
Lower is not better: the ideal of each figure is what the gold standard has. A method that drives the last two down
forgets persons rather than facts, or everybody (over-generalised); one that drives AssocStr below the gold standard
marks what it has forgotten.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.model_selection import StratifiedKFold, cross_val_score
from torch import Tensor

from expunge.embeddings.gallery import Gallery
from expunge.project.errors import ExpungeError

FOLDS = 5
REPEATS = 10
"""Shuffles over which ACS is averaged."""


@dataclass(frozen=True)
class Associations:
    """Row numbers of the catalog, int64 arrays, disjoint and none empty.

    Attributes:
        forget: associations to be forgotten.
        holdout_association: other associations of the same persons.
        holdout_identity: associations of other persons.
    """

    forget: np.ndarray
    holdout_association: np.ndarray
    holdout_identity: np.ndarray


def score(gallery: Gallery, captions: Sequence[str], sets: Associations, seed: int) -> dict[str, float]:
    """`RetFail`, `AssocStr`, `ACS`, `IntraIdSim` and `InterIdSim` of one model.

    Args:
        captions: canonical captions of the catalog, N of them; captions that are equal count as one candidate.
        seed: of the shuffled pairs and the folds of ACS.

    Raises:
        ExpungeError: the forget set has too few pairs with different captions for ACS.
    """
    similarities = gallery.similarities.double()
    return {
        "RetFail": _reciprocal_rank(gallery, captions, sets),
        "AssocStr": similarities[sets.forget].mean().item(),
        "ACS": _classification_score(gallery, captions, sets.forget, seed),
        "IntraIdSim": similarities[sets.holdout_association].mean().item(),
        "InterIdSim": similarities[sets.holdout_identity].mean().item(),
    }


def _reciprocal_rank(gallery: Gallery, captions: Sequence[str], sets: Associations) -> float:
    candidates = np.concatenate([sets.forget, sets.holdout_association, sets.holdout_identity])
    first: dict[str, int] = {}
    for row in candidates:
        first.setdefault(captions[row], int(row))
    place = {caption: number for number, caption in enumerate(first)}
    scores = gallery.images[sets.forget] @ gallery.texts[list(first.values())].T
    right = torch.tensor([place[captions[row]] for row in sets.forget])
    rank = (scores >= scores.gather(1, right[:, None])).sum(dim=1)
    return (1 / rank.double()).mean().item()


def _classification_score(gallery: Gallery, captions: Sequence[str], forget: np.ndarray, seed: int) -> float:
    # One shuffle of a small forget set may fall anywhere; the mean of several is steadier.
    return float(np.mean([_told_apart(gallery, captions, forget, (seed, repeat)) for repeat in range(REPEATS)]))


def _told_apart(gallery: Gallery, captions: Sequence[str], forget: np.ndarray, seed: tuple[int, int]) -> float:
    draw = np.random.default_rng(seed)
    order = draw.permutation(forget)
    partners = np.roll(order, 1)
    # A caption shared by two pictures is true of both, so such a shuffled pair would carry the wrong label.
    differ = np.array([captions[row] != captions[other] for row, other in zip(order, partners, strict=True)])
    rows, others = order[differ], partners[differ]
    if len(rows) < FOLDS:
        raise ExpungeError(f"ACS needs at least {FOLDS} forgotten pairs with different captions; add associations.")
    cosines = torch.cat([gallery.similarities[rows], _cosines(gallery.images[rows], gallery.texts[others])])
    labels = np.repeat([1, 0], len(rows))
    folds = StratifiedKFold(FOLDS, shuffle=True, random_state=int(draw.integers(2**31)))
    # Cosines spread over a few hundredths: the default penalty would flatten the slope that they need.
    classifier = LogisticRegression(C=1e4)
    return float(cross_val_score(classifier, cosines.double().numpy()[:, None], labels, cv=folds).mean())


def _cosines(images: Tensor, texts: Tensor) -> Tensor:
    return (images * texts).sum(dim=1)
