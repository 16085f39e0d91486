"""Negative preference optimisation (Zhang et al., COLM 2024, arXiv 2404.05868): gradient ascent that tires.

    L = α · L_CLIP(retain) + γ · mean_n −(2/β) · log σ(−β · log(p_n / p°_n))

p_n is the probability that the model gives to the right partner of forgotten pair n, p°_n the parent's. The gradient
is that of ascent where p_n is still near p°_n and fades as it falls, at a pace set by β. What a language model's
likelihood is in the original is the in-batch image↔text matching distribution here, both directions, with forgotten
and retained pairs as candidates.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor
from torch.nn import functional as F

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams, Weight


class NpoParams(LoopParams):
    """A larger `beta` lets go of a pair sooner; towards 0 it is gradient ascent."""

    beta: Annotated[float, Field(gt=0)] = 1.0
    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class Npo(Descent):
    """Negative preference optimisation with the parent as the reference, and retention."""

    params: NpoParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        forget, retain = batch.forget, batch.retain
        found = self._log_probabilities(
            torch.cat([forget.images, retain.images]), torch.cat([forget.texts, retain.texts]), len(forget.images)
        )
        reference = self._log_probabilities(
            torch.cat([forget.parent_images, retain.parent_images]),
            torch.cat([forget.parent_texts, retain.parent_texts]),
            len(forget.images),
        )
        beta = self.params.beta
        preference = -(2 / beta) * F.logsigmoid(-beta * (found - reference)).mean()
        return {
            "retention": self.params.retain_weight * self.retention(retain),
            "forgetting": self.params.forget_weight * preference,
        }

    def _log_probabilities(self, images: Tensor, texts: Tensor, count: int) -> Tensor:
        """Of the right partner of each of the first `count` pairs: image→text, then text→image, [2 · count]."""
        logits = self.matching(images, texts)
        by_image = torch.log_softmax(logits, dim=1).diagonal()[:count]
        by_text = torch.log_softmax(logits, dim=0).diagonal()[:count]
        return torch.cat([by_image, by_text])
