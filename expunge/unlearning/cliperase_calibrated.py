"""Calibrated CLIPErase: forget down to the level of pairs that were never seen, and no further.

CLIPErase drives the similarity of forgotten pairs as low as it can and takes their neighbours along; the result is
recognisable as a model that was made to forget. A model that never saw a pair still places it somewhere sensible, so
the forgetting module here has a floor:

    L_FM = mean_n (cos_n − c*_n)²

where c*_n is what `calibration` expects of pair n had it never been seen. Retention and consistency are CLIPErase's. An
anchor keeps the embeddings of retained pairs where the parent had them:

    L_A = mean_r ‖x_r − x°_r‖² + ‖t_r − t°_r‖²
"""

from __future__ import annotations

import torch
from torch import Tensor

from expunge.unlearning.calibration import never_seen_level
from expunge.unlearning.cliperase import ClipErase
from expunge.unlearning.method import Batch, Descent, Side
from expunge.unlearning.parameters import CalibratedParams
from expunge.unlearning.task import Task, Teacher


class CalibratedClipErase(Descent[CalibratedParams]):
    """The default method."""

    def __init__(self, params: CalibratedParams, task: Task, teacher: Teacher) -> None:
        super().__init__(params, task, teacher)
        level = never_seen_level(
            task.forget.canonical(),
            task.held_out.canonical(),
            teacher.held_out_similarities.numpy(),
            task.retained_captions,
        )
        self.level = torch.from_numpy(level).float()

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        level = self.level[batch.forget.positions].to(batch.forget.images.device)
        return {
            "forgetting": self.params.forgetting_weight * (batch.forget.similarities - level).square().mean(),
            "retention": self.params.retention_weight * self.retention(batch.retain),
            "consistency": self.params.consistency_weight * ClipErase.consistency(self, batch.retain),
            "anchor": self.params.anchor_weight * self._anchor(batch.retain),
        }

    @staticmethod
    def _anchor(side: Side) -> Tensor:
        moved = (side.images - side.parent_images).square().sum(dim=1)
        moved = moved + (side.texts - side.parent_texts).square().sum(dim=1)
        return moved.mean()
