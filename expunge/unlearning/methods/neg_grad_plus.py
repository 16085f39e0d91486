"""NegGrad+ (Kurmanji et al. 2023, arXiv 2302.09880): one dial between fine-tuning and gradient ascent.

    L = α · L_CLIP(retain) − (1 − α) · L_CLIP(forget)

The class distribution of the original is the in-batch image↔text matching distribution here. GradDiff has two free
weights; this is the convex combination, with α close to 1.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams


class NegGradPlusParams(LoopParams):
    """Share of the retained pairs' loss; the forgotten pairs' has the rest."""

    retain_share: Annotated[float, Field(ge=0, le=1)] = 0.95


class NegGradPlus(Descent):
    """Descent on retained pairs, and a little ascent on forgotten ones."""

    params: NegGradPlusParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        share = self.params.retain_share
        return {
            "retention": share * self.retention(batch.retain),
            "forgetting": -(1 - share) * self.retention(batch.forget),
        }
