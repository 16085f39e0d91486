"""The base of all methods: what a method may override, and the batches that the loop hands to it.

Three kinds: a `Descent` is its losses, and the loop descends them; an `Edit` changes the weights in one go; a `Rebuild`
makes a new model.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import Any

import torch
from torch import Tensor, nn

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.loss import contrastive_loss
from expunge.project.progress import ProgressReport
from expunge.project.schema import Block
from expunge.unlearning.problem import Problem, Teacher
from expunge.unlearning.settings import LoopParams


@dataclass(frozen=True)
class Side:
    """One half of a batch under the model being changed; rows of the two matrices correspond.

    Attributes:
        positions: row numbers in the problem's set, int64 [B].
        images: unit image embeddings, [B, D], with gradient.
        texts: unit text embeddings, [B, D], with gradient.
        parent_images: the parent's embeddings of the same images, [B, D].
        parent_texts: the parent's embeddings of the same captions, [B, D].
    """

    positions: Tensor
    images: Tensor
    texts: Tensor
    parent_images: Tensor
    parent_texts: Tensor

    @property
    def similarities(self) -> Tensor:
        """Cosine of each pair, [B]."""
        return (self.images * self.texts).sum(dim=1)


@dataclass(frozen=True)
class Captions:
    """Canonical captions of remaining pairs under the model being changed.

    Attributes:
        texts: unit embeddings, [B, D], with gradient.
        parent_texts: the parent's embeddings of the same captions, [B, D].
    """

    texts: Tensor
    parent_texts: Tensor


@dataclass(frozen=True)
class Batch:
    """What one step sees.

    Attributes:
        remaining: captions drawn from everything that stays, beyond the retain set; as many as the loop is told to.
        step: number of the step, from 0.
        progress: share of the steps that are done, in [0, 1).
    """

    forget: Side
    retain: Side
    remaining: Captions
    step: int
    progress: float


class Method:
    """What every method is given."""

    params: Block

    def __init__(self, params: Any, problem: Problem, teacher: Teacher) -> None:
        self.params = params
        self.problem = problem
        self.teacher = teacher

    def matching(self, images: Tensor, texts: Tensor) -> Tensor:
        """Logits [B, C] of the matching distribution: cosines of unit embeddings over the frozen temperature."""
        return self.problem.clip.model.logit_scale.exp().detach() * images @ texts.T


class Edit(Method):
    """A method that needs no loop: a closed form, a pruning, one gradient and a line search."""

    def apply(self) -> list[dict[str, float]]:
        """Change `self.problem.clip` in place; returns the curve, one row per step of whatever it does."""
        raise NotImplementedError


class Rebuild(Method):
    """A method that makes a new model instead of changing the parent's."""

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        """The new model, and the curve of its training, which goes on from `checkpoint` where it was killed."""
        raise NotImplementedError


class Descent(Method):
    """A method that is its losses; the loop does the rest."""

    params: LoopParams

    def begin(self, trained: Sequence[nn.Parameter], tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        """Called once before the first step; may change the weights `trained`, which the loop then goes on from."""

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss for one batch, by name; the loop minimises their sum."""
        raise NotImplementedError

    def backward(self, terms: dict[str, Tensor], trained: Sequence[nn.Parameter]) -> None:
        """Leave the step's gradient in `trained`; by default that of the sum of the terms."""
        total(terms.values()).backward()

    def finish(self) -> None:
        """Called once after the last step, with the final weights in `self.problem.clip`."""

    def retention(self, side: Side) -> Tensor:
        """The model's own contrastive loss on retained pairs."""
        return contrastive_loss(side.images, side.texts, self.problem.clip.model)

    def distillation(self, side: Side, temperature: float = 1.0) -> Tensor:
        """KL from the parent's in-batch matching distributions to the new ones, both softened by `temperature`."""
        teacher = self.matching(side.parent_images, side.parent_texts)
        return symmetric_kl_to_teacher(teacher / temperature, self.matching(side.images, side.texts) / temperature)


def total(terms: Iterable[Tensor]) -> Tensor:
    """The sum of one or more scalar terms, added up in their order."""
    return reduce(torch.add, terms)


def symmetric_kl_to_teacher(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher ‖ student) of the in-batch matching distributions, image→text plus text→image; logits [B, B]."""

    def one_way(target: Tensor, logits: Tensor) -> Tensor:
        return nn.functional.kl_div(
            torch.log_softmax(logits, dim=1), torch.log_softmax(target, dim=1), reduction="batchmean", log_target=True
        )

    return one_way(teacher, student) + one_way(teacher.T, student.T)
