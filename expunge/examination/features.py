"""Can an attacker who has labelled pictures still read the forgotten classes from the image features?

Unlearning a pair need not touch what the image tower sees. The attacker holds labelled pictures of everything, the
forget set included, and fits a classifier to the frozen image embeddings: a linear probe (Alain and Bengio 2016,
arXiv 1610.01644; here ridge regression on class indicators, which has a closed form) and k nearest neighbours. Every
picture that he fits on is judged by a classifier fitted without it (cross-validation for the probe, leave one out for
the neighbours), so the figures of the forget set do not merely show that it was memorised; near-duplicates of a picture
may still be among the fitted ones. What a gold standard scores is what pictures of those classes give away to a model
that never saw them; only what exceeds it is knowledge that survived.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.model_selection import KFold, cross_val_predict
from torch import Tensor

from expunge.embeddings.gallery import BLOCK

FOLDS = 5
NEIGHBOURS = 10
RIDGE = 0.001
"""Penalty of the probe on unit embeddings, set by accuracy on retained pictures: an attacker would tune it, too."""
TEMPERATURE = 0.07
"""Of the neighbours' votes, as in Wu et al. 2018 (arXiv 1805.01978), section 3.4."""


def readable(
    images: Tensor, labels: Sequence[str], fitted: np.ndarray, groups: dict[str, np.ndarray], seed: int
) -> dict[str, dict[str, float]]:
    """Accuracy of both classifiers in each group: `{group: {"linear_probe": …, "nearest_neighbours": …}}`.

    Args:
        images: unit image embeddings of the catalog, [N, D].
        labels: class names, N of them; groups may hold classes that were not fitted, which can only score 0.
        fitted: rows the attacker fits on, retained training pictures and the forget set, int64, more than 10.
        groups: name → rows to report on, within `fitted` or outside of it; empty ones are left out.
        seed: of the folds.
    """
    coded = np.unique(np.asarray(labels), return_inverse=True)[1]
    probed = linear_probe(images, coded, fitted, seed) == coded
    voted = nearest_neighbours(images, coded, fitted) == coded
    return {
        name: {"linear_probe": float(probed[rows].mean()), "nearest_neighbours": float(voted[rows].mean())}
        for name, rows in groups.items()
        if len(rows)
    }


def linear_probe(images: Tensor, labels: np.ndarray, fitted: np.ndarray, seed: int) -> np.ndarray:
    """Predicted label of every row, int64 [N]; out of fold for rows that are fitted on."""
    features = images.double().numpy()
    # A stratified split would refuse classes with fewer members than folds, which a catalog's long tail has.
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    # Unweighted, regression on indicators hardly ever names a small class.
    probe = RidgeClassifier(alpha=RIDGE, class_weight="balanced")
    predicted = probe.fit(features[fitted], labels[fitted]).predict(features)
    predicted[fitted] = cross_val_predict(probe, features[fitted], labels[fitted], cv=folds)
    return predicted


def nearest_neighbours(images: Tensor, labels: np.ndarray, fitted: np.ndarray) -> np.ndarray:
    """Label of every row by the vote of its `NEIGHBOURS` most similar fitted images, itself left out; int64 [N].

    Each neighbour's vote weighs exp(cosine / TEMPERATURE).
    """
    reference = images[torch.from_numpy(fitted)]
    indicators = torch.nn.functional.one_hot(torch.from_numpy(labels[fitted]), int(labels.max()) + 1).float()
    place = torch.full((len(images),), -1)
    place[torch.from_numpy(fitted)] = torch.arange(len(fitted))
    predicted = []
    for start in range(0, len(images), BLOCK):
        scores = images[start : start + BLOCK] @ reference.T
        own = place[start : start + BLOCK]
        known = torch.nonzero(own >= 0).flatten()
        scores[known, own[known]] = -torch.inf
        nearest = scores.topk(min(NEIGHBOURS, len(fitted) - 1), dim=1)
        weights = ((nearest.values - 1) / TEMPERATURE).exp()
        predicted.append((weights[:, :, None] * indicators[nearest.indices]).sum(dim=1).argmax(dim=1))
    return torch.cat(predicted).numpy()
