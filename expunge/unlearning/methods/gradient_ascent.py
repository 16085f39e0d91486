"""Gradient ascent (NegGrad; Golatkar et al. 2020, arXiv 1911.04933): climb the loss of forgotten pairs, nothing else.

    L = −L_CLIP(forget)

The class distribution of the original is the in-batch image↔text matching distribution here. Nothing holds the
retained pairs, so the learning rate and the number of steps are all that limits the damage.
"""

from __future__ import annotations

from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams


class GradientAscent(Descent):
    """The contrastive loss of forgotten pairs, maximised."""

    params: LoopParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"forgetting": -self.retention(batch.forget)}
