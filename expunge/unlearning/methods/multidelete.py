"""MultiDelete (Cheng and Amiri, ECCV 2024, arXiv 2311.12047): make forgotten pairs look as unrelated as shuffled ones.

    L = λ_d · mean_f (cos(x_f, t_f) − cos(x°_f, t°_π(f)))²                        modality decoupling
      + λ_m · mean_rs (cos(x_r, t_s) − cos(x°_r, t°_s))²                          multimodal retention
      + λ_u · mean_r ‖x_r − x°_r‖² + ‖t_r − t°_r‖²                                unimodal retention

with ° the parent's embeddings and π a shuffle of the batch that leaves no caption in place. The paper's backbones fuse
the modalities; here the cosine stands for the fused output. The public code anchors single modalities on forgotten
pairs; the two embeddings of a pair fix its cosine, so for two towers that would undo the decoupling, and retained pairs
are anchored instead.
"""

from __future__ import annotations

import numpy as np
from torch import Tensor

from expunge.unlearning.method import Batch, Descent, Side
from expunge.unlearning.settings import LoopParams, Weight


class MultiDeleteParams(LoopParams):
    """Weights of the three terms."""

    decoupling_weight: Weight = 1.0
    multimodal_weight: Weight = 1.0
    unimodal_weight: Weight = 1.0


class MultiDelete(Descent):
    """The method for two towers."""

    params: MultiDeleteParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        retain = batch.retain
        matching = retain.images @ retain.texts.T - retain.parent_images @ retain.parent_texts.T
        moved = (retain.images - retain.parent_images).square() + (retain.texts - retain.parent_texts).square()
        return {
            "decoupling": self.params.decoupling_weight * self._decoupling(batch),
            "multimodal": self.params.multimodal_weight * matching.square().mean(),
            "unimodal": self.params.unimodal_weight * moved.sum(dim=1).mean(),
        }

    def _decoupling(self, batch: Batch) -> Tensor:
        forget: Side = batch.forget
        count = len(forget.images)
        if count > 1:
            offset = int(np.random.default_rng((self.problem.seed, batch.step)).integers(1, count))
            others = forget.parent_texts.roll(offset, dims=0)
        else:
            others = batch.retain.parent_texts[:1]
        unrelated = (forget.parent_images * others).sum(dim=1)
        return (forget.similarities - unrelated).square().mean()
