"""Masked Small Gradients, second in the NeurIPS unlearning competition (arXiv 2406.09073; "MSG" in arXiv 2410.01276).

    g = ∇ [ L(retained; θ°) − L(forgotten; θ°) ],  as many retained pairs as there are forgotten ones
    of each layer the share of weights with the smallest |g| goes back to where training began;
    then fine-tuning on what stays, in which the other weights take a tenth of each step

A small difference of the two gradients marks a weight that both kinds of pairs pull alike. The paper's layers are
convolutions; here all matrices and kernels of both towers, embedding tables aside. It draws fresh values (He et al.
2015) and scales gradients under SGD; here the values are those of a clean start, and the step is scaled, since Adam
does not feel a gradient's size. Share, damping and five epochs are the paper's; `steps` are about five epochs of the
embedded corpus.
"""

from __future__ import annotations

from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip, autocast
from expunge.models.lesson import Lesson, run, train_on
from expunge.models.loss import contrastive_loss
from expunge.models.pairs import Pairs
from expunge.models.settings import LessonParams
from expunge.project.progress import ProgressReport
from expunge.project.schema import Positive
from expunge.unlearning.method import Rebuild
from expunge.unlearning.towers import CleanStartParams, clean_start

BATCH = 64


class MaskedSmallGradientsParams(LessonParams, CleanStartParams):
    """`share` of each layer starts anew; the rest takes `damping` of each step."""

    batch_size: Annotated[int, Field(ge=2)] = 128
    steps: Annotated[int, Field(ge=1)] = 100
    learning_rate: Positive = 0.001
    share: Annotated[float, Field(gt=0, lt=1)] = 0.3
    damping: Annotated[float, Field(ge=0, le=1)] = 0.1


class MaskedSmallGradients(Rebuild):
    """Weights that forgotten and retained pairs pull alike start anew."""

    params: MaskedSmallGradientsParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        problem, new, pictures = self.problem, self.problem.clip.clone(), self.problem.pictures()
        gradients = self._gradients(new)
        fresh = clean_start(problem, self.params.clean_start).model.state_dict()
        damping = {}
        with torch.no_grad():
            for name, gradient in gradients.items():
                small, weight = smallest(gradient, self.params.share), new.model.get_parameter(name)
                weight.copy_(torch.where(small, fresh[name].to(weight.device), weight))
                damping[name] = torch.where(small, 1.0, self.params.damping)
        images = run(pictures, problem.training, problem.seed, self.params)
        lesson = Lesson(pictures, images, problem.training, problem.compute, problem.seed)
        return new, train_on(new, lesson, self.params, lambda name: True, checkpoint, progress, damping)

    def _gradients(self, clip: Clip) -> dict[str, Tensor]:
        """Gradient of each layer: of the retained pairs' loss, less that of the forgotten pairs'."""
        forget, retain = self.problem.forget, self.problem.retain
        weights = {
            name: weight
            for name, weight in clip.model.named_parameters()
            if weight.requires_grad and weight.ndim >= 2 and "embedding" not in name
        }
        order = np.random.default_rng(self.problem.seed).permutation(len(retain))
        total = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        for sign, pairs, rows in ((1, retain, np.sort(order[: len(forget)])), (-1, forget, np.arange(len(forget)))):
            for part in np.array_split(rows, -(-len(rows) // BATCH)):
                for name, gradient in zip(weights, self._gradient(clip, pairs, part, weights), strict=True):
                    total[name] += sign * gradient
        return total

    def _gradient(
        self, clip: Clip, pairs: Pairs, rows: np.ndarray, weights: dict[str, nn.Parameter]
    ) -> tuple[Tensor, ...]:
        clip.model.eval()
        with autocast(clip.device, self.problem.compute):
            images = clip.encode_pixels(pairs.images(rows))
            texts = clip.encode_tokens(clip.tokenizer(pairs.canonical(rows)))
        loss = contrastive_loss(images, texts, clip.model)
        return torch.autograd.grad(loss, list(weights.values()), allow_unused=True, materialize_grads=True)


def smallest(gradient: Tensor, share: float) -> Tensor:
    """Which entries are among the smallest `share` in size, bool of the same shape; ties go by position."""
    order = gradient.abs().flatten().argsort(stable=True)
    mask = torch.zeros(gradient.numel(), dtype=torch.bool, device=gradient.device)
    mask[order[: round(share * len(order))]] = True
    return mask.view(gradient.shape)
