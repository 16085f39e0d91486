"""Does the unlearned model show that something was unlearned? Telling it from the gold standard by its outputs alone.

Unlearning leaves traces that a classifier finds even on inputs that have nothing to do with the forget set (arXiv
2506.14003). The attacker here has query access to two models and a set of pairs, and sees of each pair only what does
not depend on how the two embedding spaces are turned: cosines, and what follows from them. A logistic regression on
these figures guesses which model they come from.

0.5 is the ideal, but no two trainings are alike: the AUC of two gold standards of different seeds is the floor that an
unlearned model should be held against.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import GroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor

from expunge.embeddings.gallery import BLOCK, Gallery
from expunge.project.errors import ExpungeError

FOLDS = 5
PROFILE = 10
"""Largest cosines of each direction that are shown to the attacker."""


def trace_auc(first: Gallery, second: Gallery, groups: dict[str, np.ndarray]) -> dict[str, float]:
    """Mean area under the ROC curve, over folds of rows, of telling `second` from `first`; for each non-empty group.

    Both models' outputs on a row are in the same fold, so a classifier never meets a row that it was fitted on.

    Raises:
        ExpungeError: a group has fewer rows than there are folds.
    """
    return {
        name: _auc(observed(first, rows).numpy(), observed(second, rows).numpy(), name)
        for name, rows in groups.items()
        if len(rows)
    }


def observed(gallery: Gallery, rows: np.ndarray) -> Tensor:
    """What the attacker sees of each pair, float64 [R, 5 + 2 * PROFILE].

    Pair cosine; then for image→text and for text→image: contrastive loss in nats, margin (pair cosine minus the best
    wrong one) and the `PROFILE` largest cosines against the full gallery, which must have more rows than that.
    """
    chosen = torch.from_numpy(rows)
    forward = _one_way(gallery.images, gallery.texts, gallery.scale, chosen)
    backward = _one_way(gallery.texts, gallery.images, gallery.scale, chosen)
    return torch.cat([gallery.similarities[chosen][:, None], forward, backward], dim=1).double()


def _one_way(queries: Tensor, targets: Tensor, scale: float, rows: Tensor) -> Tensor:
    parts = []
    for block in rows.split(BLOCK):
        scores = queries[block] @ targets.T
        right = scores.gather(1, block[:, None])
        loss = torch.logsumexp(scale * scores, dim=1, keepdim=True) - scale * right
        profile = scores.topk(PROFILE, dim=1).values
        wrong = scores.scatter(1, block[:, None], -torch.inf).amax(dim=1, keepdim=True)
        parts.append(torch.cat([loss, right - wrong, profile], dim=1))
    return torch.cat(parts)


def _auc(first: np.ndarray, second: np.ndarray, group: str) -> float:
    if len(first) < FOLDS:
        raise ExpungeError(f"Trace detection needs at least {FOLDS} rows; the group `{group}` has {len(first)}.")
    seen = np.concatenate([first, second])
    source = np.repeat([0, 1], len(first))
    row = np.tile(np.arange(len(first)), 2)
    classifier = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
    aucs = []
    for fitted, judged in GroupKFold(FOLDS).split(seen, source, row):
        scores = classifier.fit(seen[fitted], source[fitted]).decision_function(seen[judged])
        aucs.append(roc_auc_score(source[judged], scores))
    return float(np.mean(aucs))
