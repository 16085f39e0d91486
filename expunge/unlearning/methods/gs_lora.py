"""GS-LoRA (Zhao et al., CVPR 2024, arXiv 2403.11530): forget inside low-rank updates, in as few blocks as possible.

    L = L_retain + β · ReLU(B − L_forget) + α · Σ_g ‖(up, down)_g‖

L_retain and L_forget are contrastive losses, B bounds how far forgetting goes, and g runs over the residual blocks
(matrices outside blocks are groups of their own). The paper updates feed-forward layers only; here all matrices are.
"""

from __future__ import annotations

from collections import defaultdict
from typing import Annotated

import torch
from pydantic import Field, field_validator
from torch import Tensor

from expunge.models.low_rank import updates
from expunge.unlearning.method import Batch, Descent, total
from expunge.unlearning.settings import LoopParams, Weight, WeightsParams
from expunge.unlearning.weights import BLOCK


class GsLoraParams(LoopParams):
    """Weights of forgetting and of group sparsity; the forgotten pairs' loss is raised to `forgetting_bound` nats."""

    weights: WeightsParams = WeightsParams(choice="lora")
    forgetting_weight: Weight = 1.0
    forgetting_bound: Annotated[float, Field(gt=0)] = 10.0
    sparsity_weight: Weight = 0.0001

    @field_validator("weights")
    @classmethod
    def _updates_are_low_rank(cls, weights: WeightsParams) -> WeightsParams:
        if weights.choice != "lora":
            raise ValueError("gs_lora changes low-rank updates only; set weights.choice to `lora`")
        return weights


class GsLora(Descent):
    """Group-sparse low-rank forgetting."""

    params: GsLoraParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        room = torch.relu(self.params.forgetting_bound - self.retention(batch.forget))
        return {
            "retention": self.retention(batch.retain),
            "forgetting": self.params.forgetting_weight * room,
            "sparsity": self.params.sparsity_weight * self._group_norms().sum(),
        }

    def _group_norms(self) -> Tensor:
        squares: dict[str, list[Tensor]] = defaultdict(list)
        for name, update in updates(self.problem.clip.model).items():
            block = BLOCK.match(name)
            squares[block[0] if block else name] += [factor.square().sum() for factor in update.parameters()]
        return torch.stack([total(parts) for parts in squares.values()]).sqrt()
