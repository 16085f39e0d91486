"""Problem arithmetic (Ilharco et al., ICLR 2023, arXiv 2212.04089): learn the forget set even better, then walk back.

θ = θ° − λ (θ_ft − θ°),  θ_ft = θ° fine-tuned on the forgotten pairs
"""

from __future__ import annotations

import torch
from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.problem import Problem, Teacher
from expunge.unlearning.settings import LoopParams, Weight


class TaskVectorParams(LoopParams):
    """How far to walk back from the model that was fine-tuned on the forget set."""

    scale: Weight = 1.0


class TaskVector(Descent):
    """Negation of the forget set's task vector."""

    params: TaskVectorParams

    def __init__(self, params: TaskVectorParams, problem: Problem, teacher: Teacher) -> None:
        super().__init__(params, problem, teacher)
        self.start = {name: weight.detach().clone() for name, weight in problem.clip.model.named_parameters()}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"learning": self.retention(batch.forget)}

    @torch.no_grad()
    def finish(self) -> None:
        for name, weight in self.problem.clip.model.named_parameters():
            # Not `lerp`: a weight that was not trained must keep its bits.
            weight.copy_(self.start[name] - self.params.scale * (weight - self.start[name]))
