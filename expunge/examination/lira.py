"""Membership by likelihood ratio: LiRA (Carlini et al. 2022, arXiv 2112.03570, algorithm 1) and U-LiRA.

The attacker trains shadow models, each on a random half of the challenge pairs, and compares how the target model
treats a pair with how models treat it that were trained on this very pair and with how models do that were not. It is
the strongest test that we know, and the population attacks of `membership` overestimate privacy beside it (U-LiRA,
Hayes et al. 2024, arXiv 2403.01218). For U-LiRA a shadow counts as `trained` on a pair when it was trained on it and
then unlearned it with the method under test; the others never saw it.

With φ = log(p / (1 − p)), p = exp(−loss) and Gaussians per pair,

    score = log N(φ; μ_in, σ²_in) − log N(φ; μ_out, σ²_out).

Shadows are few here, so the means are each pair's own and the variances are pooled over all pairs (section V-C there,
which takes the variance of all values; this takes the variance about each pair's mean, which is what the Gaussians
need). Pure functions of arrays; nothing is trained.
"""

from __future__ import annotations

import numpy as np

from expunge.evaluation.roc import Attack, assess
from expunge.project.errors import ExpungeError

SMALLEST_VARIANCE = 1e-12
"""Keeps shadows that all agree from dividing by zero."""


def logit_confidence(loss: np.ndarray) -> np.ndarray:
    """φ = log(p / (1 − p)) of the probability p = exp(−loss), any shape; `loss` in nats.

    For `Matches.loss`, p is the geometric mean of the probabilities of the right caption and the right image.
    """
    # log(p / (1 − p)) = −log(exp(loss) − 1), without overflow for a large loss or a zero for a tiny one.
    loss = np.maximum(np.asarray(loss, np.float64), np.finfo(np.float64).tiny)
    return -(loss + np.log(-np.expm1(-loss)))


def likelihood_ratio(shadows: np.ndarray, trained: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Log-likelihood ratio of having been a member, for each pair, [N].

    Args:
        shadows: φ of N pairs under M shadow models, [M, N].
        trained: whether a shadow was trained on a pair, bool [M, N].
        target: φ of the pairs under the model that is attacked, [N].

    Raises:
        ExpungeError: a pair is in no shadow or in all of them, or no pair is twice in, or twice out.
    """
    present, absent = _Gaussians(shadows, trained), _Gaussians(shadows, ~trained)
    return present.log_density(target) - absent.log_density(target)


def attack(
    shadows: np.ndarray,
    trained: np.ndarray,
    target: np.ndarray,
    members: np.ndarray,
    never_seen: np.ndarray,
    seed: int,
) -> Attack:
    """LiRA on columns `members` of `target` against columns `never_seen`; see `likelihood_ratio`."""
    score = likelihood_ratio(shadows, trained, target)
    return assess(score[members], score[never_seen], seed)


class _Gaussians:
    """One mean for each pair and one variance for all, of the values where `chosen`."""

    def __init__(self, values: np.ndarray, chosen: np.ndarray) -> None:
        count = chosen.sum(axis=0)
        freedom = int((count - 1).sum())
        if (count == 0).any() or freedom == 0:
            raise ExpungeError(
                "LiRA needs every pair in at least one shadow model and out of at least one, and some pairs twice; "
                "train more shadow models."
            )
        self.mean = np.where(chosen, values, 0.0).sum(axis=0) / count
        squares = np.where(chosen, (values - self.mean) ** 2, 0.0).sum()
        self.variance = max(float(squares) / freedom, SMALLEST_VARIANCE)

    def log_density(self, value: np.ndarray) -> np.ndarray:
        """Up to a constant that both sides of a ratio share."""
        return -0.5 * ((value - self.mean) ** 2 / self.variance + np.log(self.variance))
