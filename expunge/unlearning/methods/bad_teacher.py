"""Bad teacher (Chundawat et al., AAAI 2023, arXiv 2205.08096): know what must stay, be clueless about the rest.

    L = α · KL(T_good ‖ S) on retained pairs + γ · KL(T_bad ‖ S) on forgotten ones

The class distribution of the original is the in-batch image↔text matching distribution here. T_good is the parent;
T_bad has the parent's architecture and random weights, so that its matching is close to uniform. It sees forgotten
pairs under their canonical captions, whatever wording the step drew: to a model that knows no word all wordings are
alike.
"""

from __future__ import annotations

from torch import Tensor

from expunge.embeddings.gallery import view
from expunge.models import clip
from expunge.unlearning.method import Batch, Descent, symmetric_kl_to_teacher
from expunge.unlearning.problem import Problem, Teacher
from expunge.unlearning.settings import LoopParams, Weight


class BadTeacherParams(LoopParams):
    """Weights of the good teacher (retained pairs) and of the bad one (forgotten pairs)."""

    retain_weight: Weight = 1.0
    forget_weight: Weight = 1.0


class BadTeacher(Descent):
    """Distillation from two teachers."""

    params: BadTeacherParams

    def __init__(self, params: BadTeacherParams, problem: Problem, teacher: Teacher) -> None:
        super().__init__(params, problem, teacher)
        clueless = view(clip.fresh(problem.clip, problem.seed), problem.forget, batch_size=256)
        # `clone` takes the tensors out of inference mode, so that they can stand in a loss.
        self.images, self.texts = clueless.images.clone(), clueless.texts.clone()
        self.scale = clueless.scale

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        return {
            "retention": self.params.retain_weight * self.distillation(batch.retain),
            "forgetting": self.params.forget_weight * self._cluelessness(batch),
        }

    def _cluelessness(self, batch: Batch) -> Tensor:
        rows = batch.forget.positions
        logits = self.matching(batch.forget.images, batch.forget.texts)
        teacher = self.scale * self.images[rows] @ self.texts[rows].T
        return symmetric_kl_to_teacher(teacher.to(logits.device), logits)
