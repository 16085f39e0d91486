"""Random labels (Golatkar et al. 2020, arXiv 1911.04933; the form of Fan et al. 2024): teach forgotten pairs nonsense.

    L = α · L_CLIP(retain) + γ · ½ · [CE(x_f · tᵀ/τ, y) + CE(t_f · xᵀ/τ, y)]

The class distribution of the original is the in-batch image↔text matching distribution here, so the "labels" of the
forgotten pictures are captions of the batch: y draws for each forgotten pair another pair at random, retained ones
included. Shuffling among the forgotten captions alone would leave a single forgotten pair as it is.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams, Weight


class RandomLabelsParams(LoopParams):
    """Weights of the retained pairs' loss and of the wrong partners."""

    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class RandomLabels(Descent):
    """Retention, and wrong partners for forgotten pairs."""

    params: RandomLabelsParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {
            "retention": self.params.retain_weight * self.retention(batch.retain),
            "forgetting": self.params.forget_weight * self._wrong_partners(batch),
        }

    def _wrong_partners(self, batch: Batch) -> Tensor:
        images = torch.cat([batch.forget.images, batch.retain.images])
        texts = torch.cat([batch.forget.texts, batch.retain.texts])
        count = len(batch.forget.images)
        draw = np.random.default_rng((self.problem.seed, batch.step, 2))
        partners = torch.from_numpy(others(count, len(images), draw)).to(images.device)
        by_image = F.cross_entropy(self.matching(images[:count], texts), partners)
        by_text = F.cross_entropy(self.matching(texts[:count], images), partners)
        return (by_image + by_text) / 2


def others(count: int, total: int, draw: np.random.Generator) -> np.ndarray:
    """For each of the first `count` of `total` rows another row, drawn uniformly; int64 [count]."""
    return (np.arange(count) + draw.integers(1, total, count)) % total
