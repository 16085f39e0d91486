"""How few pictures teach a forgotten class again? The image tower alone, and an attacker with a handful of labels.

For a class that was forgotten as a whole the attacker holds k of its pictures. He takes the mean of their embeddings
for the class (a prototype; Snell et al. 2017, arXiv 1703.05175) and ranks all other pictures by their cosine to it; or
he fits a linear probe on pictures of everything (out of fold, so no picture is judged by a probe fitted on it). What is
reported is the area under the ROC curve: the chance that a picture of the class ranks above one of another.

Classes look alike inside whether a model has seen them or not, so two yardsticks stand beside it: the same figures for
*control* classes, of which nothing was forgotten, and the gold standard's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from statistics import fmean

import numpy as np
import torch
from sklearn.linear_model import RidgeClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import KFold, cross_val_predict
from torch import Tensor

from expunge.examination.features import FOLDS, RIDGE

SHOTS = (1, 2, 5)
FEWEST = 8
"""Pictures that a class needs, so that some are left to be found."""
CONTROLS = 14
DRAWS = 20
"""Draws of the k pictures over which a figure is the mean."""


def few_shot(images: Tensor, labels: Sequence[str], forgotten: np.ndarray, seed: int) -> dict[str, dict[str, float]]:
    """`{"forget": …, "control": …}`, each with `shots_1_auc`, `shots_2_auc`, `shots_5_auc` and `probe_auc`.

    Empty where no class of at least `FEWEST` pictures was forgotten for the most part.

    Args:
        images: unit image embeddings of the catalog, [N, D].
        labels: class names, N of them.
        forgotten: rows that were forgotten.
        seed: of the draws and folds.
    """
    names, gone = np.asarray(labels), np.zeros(len(labels), bool)
    gone[forgotten] = True
    sizes = {name: size for name, size in Counter(labels).items() if size >= FEWEST}
    lost = sorted(name for name, size in sizes.items() if gone[names == name].sum() > size / 2)
    if not lost:
        return {}
    size = fmean(sizes[name] for name in lost)
    whole = [name for name in sizes if not gone[names == name].any()]
    controls = sorted(whole, key=lambda name: (abs(sizes[name] - size), name))[:CONTROLS]
    chosen = {"forget": lost, "control": controls}
    return {
        group: {key: fmean(row[key] for row in rows) for key in rows[0]}
        for group, classes in chosen.items()
        if (rows := [_class(images, names == name, seed) for name in classes])
    }


def _class(images: Tensor, member: np.ndarray, seed: int) -> dict[str, float]:
    own = np.flatnonzero(member)
    found = {}
    for shots in SHOTS:
        draw = np.random.default_rng((seed, shots))
        given = [draw.choice(own, shots, replace=False) for _ in range(DRAWS)]
        found[f"shots_{shots}_auc"] = fmean(_prototype(images, member, rows) for rows in given)
    return found | {"probe_auc": _probe(images.double().numpy(), member, seed)}


def _prototype(images: Tensor, member: np.ndarray, given: np.ndarray) -> float:
    scores = images @ images[torch.from_numpy(given)].mean(dim=0)
    asked = np.setdiff1d(np.arange(len(member)), given)
    return float(roc_auc_score(member[asked], scores.numpy()[asked]))


def _probe(features: np.ndarray, member: np.ndarray, seed: int) -> float:
    folds = KFold(FOLDS, shuffle=True, random_state=seed)
    probe = RidgeClassifier(alpha=RIDGE, class_weight="balanced")
    scores = cross_val_predict(probe, features, member, cv=folds, method="decision_function")
    return float(roc_auc_score(member, scores))
