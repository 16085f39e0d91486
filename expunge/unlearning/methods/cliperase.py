"""CLIPErase (Yang et al., ACL 2025, arXiv 2410.23330): forgetting, retention and consistency modules.

    L = λ1 · L_RM + λ2 · L_FM + λ3 · L_CM,  λ1 = 1, λ2 = λ3 = 3

- forgetting `dot`: the mean dot product of the forgotten pairs, minimised;
- forgetting `neg_ce`: the negative contrastive loss of the forget rows in a batch of forget and retain pairs. Accounts
  of the paper give the former, the only public re-implementation uses the latter, so the choice is a parameter;
- retention: InfoNCE on retained pairs;
- consistency: KL from the original model's in-batch matching distributions to the new one's, on retained pairs.
"""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from expunge.models.loss import matching_loss
from expunge.unlearning.method import Batch, Descent, Side
from expunge.unlearning.settings import LoopParams, Weight


class ClipEraseParams(LoopParams):
    """Weights of CLIPErase's three modules; the paper uses retention 1, forgetting 3, consistency 3."""

    forgetting_loss: Literal["dot", "neg_ce"] = "dot"
    retention_weight: Weight = 1.0
    forgetting_weight: Weight = 3.0
    consistency_weight: Weight = 3.0


class ClipErase(Descent):
    """The method as published."""

    params: ClipEraseParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        forgetting = self._dot(batch) if self.params.forgetting_loss == "dot" else self._negative_ce(batch)
        return {
            "forgetting": self.params.forgetting_weight * forgetting,
            "retention": self.params.retention_weight * self.retention(batch.retain),
            "consistency": self.params.consistency_weight * self.consistency(batch.retain),
        }

    def consistency(self, side: Side) -> Tensor:
        """L_CM on retained pairs."""
        return self.distillation(side)

    @staticmethod
    def _dot(batch: Batch) -> Tensor:
        return batch.forget.similarities.mean()

    def _negative_ce(self, batch: Batch) -> Tensor:
        images = torch.cat([batch.forget.images, batch.retain.images])
        texts = torch.cat([batch.forget.texts, batch.retain.texts])
        model = self.problem.clip.model
        logits = model.logit_scale.exp() * images @ texts.T
        rows = torch.arange(len(batch.forget.images), device=logits.device)
        return -(matching_loss(logits[rows], rows, model) + matching_loss(logits.T[rows], rows, model))
