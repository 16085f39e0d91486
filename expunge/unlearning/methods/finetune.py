"""Fine-tuning on the retain set alone: forgetting is left to interference. The baseline that every table needs."""

from __future__ import annotations

from torch import Tensor

from expunge.unlearning.method import Batch, Descent
from expunge.unlearning.settings import LoopParams


class FineTune(Descent):
    """Contrastive fine-tuning on retained pairs."""

    params: LoopParams

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {"retention": self.retention(batch.retain)}
