"""How well does a score tell two sets of pairs apart? The figures that every attack reports, with their uncertainty.

AUC is the probability that a pair of the one set scores higher than a pair of the other, ties counting half. It says
little of an attacker who wants to be certain of a few pairs, so the true-positive rate at 1 % false positives stands
beside it (Carlini et al. 2022, arXiv 2112.03570, section III). Intervals are percentile bootstrap intervals (Efron &
Tibshirani 1993, chapter 13) of both sets resampled independently: they cover the choice of pairs, not of the model.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from expunge.project.errors import ExpungeError

RESAMPLES = 1000
CONFIDENCE = 0.95
FALSE_POSITIVE_RATE = 0.01
BLOCK = 100
"""Resamples that are drawn at once, to bound memory."""


@dataclass(frozen=True)
class Attack:
    """What an attack achieves; all figures are fractions in [0, 1].

    Attributes:
        auc: area under the ROC curve.
        auc_interval: its 95 % interval.
        tpr_at_1_percent_fpr: highest true-positive rate among thresholds with at most 1 % false positives; with fewer
            than 100 negatives that is the share of positives above every negative.
        tpr_interval: its 95 % interval.
    """

    auc: float
    auc_interval: tuple[float, float]
    tpr_at_1_percent_fpr: float
    tpr_interval: tuple[float, float]


def assess(positives: np.ndarray, negatives: np.ndarray, seed: int) -> Attack:
    """The figures of a score that should be higher on `positives` [P] than on `negatives` [Q].

    Raises:
        ExpungeError: one of the sets is empty.
    """
    if not len(positives) or not len(negatives):
        raise ExpungeError("An attack needs pairs of both kinds; one of the two sets is empty.")
    scores = np.concatenate([positives, negatives]).astype(np.float64)
    order = np.argsort(-scores, kind="stable")
    ends = np.flatnonzero(np.diff(scores[order], append=-np.inf))
    once = np.ones((1, len(scores)))
    (auc,), (rate,) = _figures(once, len(positives), order, ends)
    draw = np.random.default_rng(seed)
    blocks = [
        _figures(_resample(len(positives), len(negatives), draw), len(positives), order, ends)
        for _ in range(RESAMPLES // BLOCK)
    ]
    aucs, rates = (np.concatenate(parts) for parts in zip(*blocks, strict=True))
    return Attack(float(auc), _interval(aucs), float(rate), _interval(rates))


def _figures(weights: np.ndarray, positives: int, order: np.ndarray, ends: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """AUC and TPR at 1 % FPR [B] of pairs that count `weights` [B, P + Q] times.

    Args:
        positives: how many of the first columns are positives.
        order: columns by falling score.
        ends: places in `order` at which a run of equal scores ends: between equal scores there is no threshold.
    """
    is_positive = order < positives
    hits = np.cumsum(weights[:, order] * is_positive, axis=1)[:, ends] / positives
    alarms = np.cumsum(weights[:, order] * ~is_positive, axis=1)[:, ends] / (weights.shape[1] - positives)
    before = np.zeros((len(weights), 1))
    aucs = np.trapezoid(np.hstack([before, hits]), np.hstack([before, alarms]), axis=1)
    return aucs, np.where(alarms <= FALSE_POSITIVE_RATE, hits, 0.0).max(axis=1)


def _resample(positives: int, negatives: int, draw: np.random.Generator) -> np.ndarray:
    """How often each pair is drawn, [BLOCK, P + Q]."""
    return np.hstack([_counts(positives, draw), _counts(negatives, draw)])


def _counts(size: int, draw: np.random.Generator) -> np.ndarray:
    drawn = draw.integers(size, size=(BLOCK, size)) + size * np.arange(BLOCK)[:, None]
    return np.bincount(drawn.ravel(), minlength=BLOCK * size).reshape(BLOCK, size)


def _interval(values: np.ndarray) -> tuple[float, float]:
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(values, [tail, 1 - tail])
    return float(low), float(high)
