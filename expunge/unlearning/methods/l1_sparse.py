"""ℓ1-sparse fine-tuning (Jia et al., NeurIPS 2023, arXiv 2304.04934): prune while fine-tuning, forgetting gets easier.

    L = L_CLIP(retain) + a_t · ‖θ‖₁,  a_t = a · (1 − t/T)

over the weights that the run may change. The class distribution of the original is the in-batch image↔text matching
distribution here. The penalty decays to nothing, so that the last steps repair.
"""

from __future__ import annotations

import torch
from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams, Weight


class L1SparseParams(LoopParams):
    """`alpha` is the penalty of the first step; it falls to 0 in a straight line."""

    alpha: Weight = 1e-5


class L1Sparse(Descent):
    """Contrastive fine-tuning on retained pairs with a decaying ℓ1 penalty."""

    params: L1SparseParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        trained = [weight for weight in self.problem.clip.model.parameters() if weight.requires_grad]
        size = torch.stack([weight.abs().sum() for weight in trained]).sum()
        return {
            "retention": self.retention(batch.retain),
            "sparsity": self.params.alpha * (1 - batch.progress) * size,
        }
