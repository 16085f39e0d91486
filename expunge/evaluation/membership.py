"""Can an attacker tell that the forgotten pairs were in the training data?

The attacker sees the model's contrastive loss of a pair against the full gallery and calls pairs with a small loss
members (the population attack of Yeom et al. 2018, arXiv 1709.01604, with CLIP's loss). 0.5 means that he guesses;
the yardstick is what he gets from the gold standard, which is seldom 0.5 exactly, as forgotten and held-out pairs
are not alike.
"""

from __future__ import annotations

from sklearn.metrics import roc_auc_score
from torch import Tensor, cat

from expunge.evaluation.gallery import Matches


def attack_auc(matches: Matches, members: Tensor, never_seen: Tensor) -> float:
    """Area under the ROC curve of telling rows `members` from rows `never_seen` by their loss."""
    score = -cat([matches.loss[members], matches.loss[never_seen]])
    label = [1] * len(members) + [0] * len(never_seen)
    return float(roc_auc_score(label, score.numpy()))
