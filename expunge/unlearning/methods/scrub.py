"""SCRUB (Kurmanji et al., NeurIPS 2023, arXiv 2302.09880): leave the teacher on forgotten pairs, obey it on the others.

    max phases:  L = −KL(T ‖ S) on forgotten pairs
    min phases:  L = γ · L_CLIP(retain) + α · KL(T ‖ S) on retained pairs

The class distribution of the original is the in-batch image↔text matching distribution here, softened by a
temperature. The phases take turns in the first part of the run, where the original alternates epochs; the rest is min
phases only, which repairs what the max phases broke. The rewinding of SCRUB+R is left out: it needs a look at the
forget set's error.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams, Weight


class ScrubParams(LoopParams):
    """Max phases of `phase_steps` steps take turns with min phases during the first `max_share` of the run."""

    retain_weight: Weight = 1.0
    consistency_weight: Weight = 0.5
    temperature: Annotated[float, Field(gt=0)] = 2.0
    max_share: Annotated[float, Field(ge=0, le=1)] = 0.5
    phase_steps: Annotated[int, Field(ge=1)] = 2


class Scrub(Descent):
    """Alternating distillation away from the parent and towards it."""

    params: ScrubParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        away = float(batch.progress < self.params.max_share and batch.step // self.params.phase_steps % 2 == 0)
        softness = self.params.temperature
        # All terms in every step, so that the curve has the same columns throughout; the idle ones have no gradient.
        return {
            "forgetting": -away * self.distillation(batch.forget, softness),
            "retention": (1 - away) * self.params.retain_weight * self.retention(batch.retain),
            "consistency": (1 - away) * self.params.consistency_weight * self.distillation(batch.retain, softness),
        }
