"""GradDiff (Liu et al. 2022, arXiv 2203.12817): descend on retained pairs, ascend on forgotten ones.

L = α · L_retain − γ · L_forget,  both the symmetric contrastive loss
"""

from __future__ import annotations

from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams, Weight


class GradDiffParams(LoopParams):
    """Weights of the two contrastive losses."""

    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class GradDiff(Descent):
    """Gradient difference."""

    params: GradDiffParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {
            "retention": self.params.retain_weight * self.retention(batch.retain),
            "forgetting": -self.params.forget_weight * self.retention(batch.forget),
        }
