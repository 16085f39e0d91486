"""MUNBa (Wu and Harandi, ICCV 2025, arXiv 2411.15537): forgetting and retention bargain over the direction of a step.

    d = a_r g_r + a_f g_f,  a_i = 1 / ‖g_i‖ · √((1 − cos φ) / (sin² φ + ξ)) → 1 / (‖g_i‖ √(1 + cos φ))

is the Nash bargaining solution for the gradients g_r of the retained pairs' contrastive loss and g_f of the forgotten
pairs' cross-entropy with wrong partners from the batch; φ is the angle between them. d · g_i = ‖g_i‖ √(1 + cos φ) ≥ 0:
a step never harms either side to first order.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor, nn

from expunge.models.loss import matching_loss
from expunge.unlearning.method import Batch, Descent, total
from expunge.unlearning.settings import LoopParams


class Munba(Descent):
    """Nash bargaining between two gradients."""

    params: LoopParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"retention": self.retention(batch.retain), "forgetting": self._wrong_partners(batch)}

    def backward(self, terms: dict[str, Tensor], trained: Sequence[nn.Parameter]) -> None:
        retain, forget = (
            torch.autograd.grad(terms[name], trained, retain_graph=True, allow_unused=True, materialize_grads=True)
            for name in ("retention", "forgetting")
        )
        for weight, direction in zip(trained, bargain(retain, forget), strict=True):
            weight.grad = direction

    def _wrong_partners(self, batch: Batch) -> Tensor:
        forget, retain = batch.forget, batch.retain
        images, texts = torch.cat([forget.images, retain.images]), torch.cat([forget.texts, retain.texts])
        scale = self.problem.clip.model.logit_scale.exp().detach()
        shift = np.random.default_rng((self.problem.seed, batch.step)).integers(1, len(images), len(forget.images))
        wrong = (torch.arange(len(forget.images)) + torch.from_numpy(shift)).remainder(len(images)).to(images.device)
        model = self.problem.clip.model
        return matching_loss(scale * forget.images @ texts.T, wrong, model) + matching_loss(
            scale * forget.texts @ images.T, wrong, model
        )


def bargain(first: Sequence[Tensor], second: Sequence[Tensor], smoothing: float = 1e-8) -> list[Tensor]:
    """The bargaining solution for two gradients, each a tensor a weight; `smoothing` is the equation's ξ."""
    norms = [
        torch.sqrt(total(part.square().sum() for part in gradient)).clamp(min=1e-20) for gradient in (first, second)
    ]
    dot = total((one * other).sum() for one, other in zip(first, second, strict=True))
    cosine = (dot / (norms[0] * norms[1])).clamp(-1, 1)
    share = torch.sqrt((1 - cosine) / (1 - cosine.square() + smoothing))
    return [share * (one / norms[0] + other / norms[1]) for one, other in zip(first, second, strict=True)]
