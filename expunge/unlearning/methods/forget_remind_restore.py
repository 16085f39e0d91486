"""Forget, remind, restore (Zhang et al., CVPR 2025, arXiv 2506.03117): unlearning of subgroups in three stages.

    forget   descend the mean cosine of the forgotten pairs, for a part of the steps
    remind   descend the contrastive loss of retained pairs, and the distance from the parent's answers on them
    restore  θ ← (1 − α) θ + α θ°,  a soup of the new and the old model

The paper is known here from its abstract and from notes on it, not from its text: the stages and the soup are sure;
that it learns low-rank updates of layers chosen by relative Fisher information, and aligns the statistics of BatchNorm,
is told, but not how, and is left out; `weights` can make the updates low-rank. Its α is searched on data that this
method is not given; here it is the greatest of `SOUPS` at which the forgotten pictures find no more of their captions
among those of the problem than without a soup.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.problem import Problem, Teacher, see
from expunge.unlearning.settings import LoopParams, Weight

SOUPS = tuple(tenth / 10 for tenth in range(9, -1, -1))


class ForgetRemindRestoreParams(LoopParams):
    """The first `forget_share` of the steps forget; the others remind."""

    forget_share: Annotated[float, Field(gt=0, lt=1)] = 0.5
    consistency_weight: Weight = 1.0


class ForgetRemindRestore(Descent):
    """Two kinds of steps and a soup."""

    params: ForgetRemindRestoreParams

    def __init__(self, params: ForgetRemindRestoreParams, problem: Problem, teacher: Teacher) -> None:
        super().__init__(params, problem, teacher)
        self.start = {name: weight.detach().clone() for name, weight in problem.clip.model.named_parameters()}

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        forgets = float(batch.progress < self.params.forget_share)
        # All terms in every step, so that the curve has the same columns throughout; the idle ones have no gradient.
        return {
            "forgetting": forgets * batch.forget.similarities.mean(),
            "retention": (1 - forgets) * self.retention(batch.retain),
            "consistency": (1 - forgets) * self.params.consistency_weight * self.distillation(batch.retain),
        }

    @torch.no_grad()
    def finish(self) -> None:
        new = {name: weight.detach().clone() for name, weight in self.problem.clip.model.named_parameters()}
        found = self._recall()
        for share in SOUPS:
            for name, weight in self.problem.clip.model.named_parameters():
                # Not `lerp`: a weight that was not trained must keep its bits.
                weight.copy_(new[name] + share * (self.start[name] - new[name]))
            if self._recall() <= found:
                return

    def _recall(self) -> float:
        """Share of the forgotten pictures whose caption beats those of all other pairs of the problem."""
        clip, forget = self.problem.clip, self.problem.forget
        seen = see(clip, forget)
        others = clip.encode_texts(self.problem.retain.canonical())
        scores = seen.images @ torch.cat([seen.texts, others]).T
        right = scores[torch.arange(len(forget)), torch.arange(len(forget))]
        return ((scores >= right[:, None]).sum(dim=1) == 1).double().mean().item()
