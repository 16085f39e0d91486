"""Convolution Transpose, fifth in the NeurIPS unlearning competition (arXiv 2406.09073; "CT" in arXiv 2410.01276).

    K ← Kᵀ  over height and width, for every convolution;  then fine-tuning on what stays

The kernels keep their values, so that little has to be learned again, and lose what they had learned to see. The
competition's models were ResNets. CLIP's image tower is one, or has one convolution, that of its patches (ViT); kernels
of one pixel are their own transpose, and those that are not square are left alone. The text tower has none: it is only
trained on. The paper fine-tunes for three epochs by SGD at 0.001; `steps` are about three epochs of the embedded
corpus, by the recipe's optimizer.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import nn

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, run, train_on
from expunge.models.settings import LessonParams
from expunge.project.progress import ProgressReport
from expunge.project.schema import Positive
from expunge.unlearning.method import Rebuild


class ConvolutionTransposeParams(LessonParams):
    """How long, and how fast, the model is trained on after its kernels were transposed."""

    batch_size: Annotated[int, Field(ge=2)] = 128
    steps: Annotated[int, Field(ge=1)] = 60
    learning_rate: Positive = 0.001


class ConvolutionTranspose(Rebuild):
    """Transposed kernels, and repair."""

    params: ConvolutionTransposeParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        problem, new, pictures = self.problem, self.problem.clip.clone(), self.problem.pictures()
        transpose(new.model)
        images = run(pictures, problem.training, problem.seed, self.params)
        lesson = Lesson(pictures, images, problem.training, problem.compute, problem.seed)
        return new, train_on(new, lesson, self.params, lambda name: True, checkpoint, progress)


@torch.no_grad()
def transpose(model: nn.Module) -> None:
    """Exchange height and width in every square kernel, in place."""
    for module in model.modules():
        if isinstance(module, nn.Conv2d) and module.weight.shape[2] == module.weight.shape[3]:
            module.weight.copy_(module.weight.transpose(2, 3).clone())
