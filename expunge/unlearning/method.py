"""The base of all methods: what a method may override, and the batches that the loop hands to it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Generic, TypeVar

import torch
from torch import Tensor, nn

from expunge.config import Block
from expunge.training import contrastive_loss
from expunge.unlearning.task import Task, Teacher

P = TypeVar("P", bound=Block)


@dataclass(frozen=True)
class Side:
    """One half of a batch under the model being changed; rows of the two matrices correspond.

    Attributes:
        positions: row numbers in the task's set, int64 [B].
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
class Batch:
    """What one step sees."""

    forget: Side
    retain: Side


class Method(Generic[P]):
    """A method is its `losses`; everything else is the loop's."""

    def __init__(self, params: P, task: Task, teacher: Teacher) -> None:
        self.params = params
        self.task = task
        self.teacher = teacher

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """The weighted terms of the loss for one batch, by name; the loop minimises their sum."""
        raise TypeError(f"{type(self).__name__} defines no losses")

    def retention(self, side: Side) -> Tensor:
        """InfoNCE on retained pairs."""
        return contrastive_loss(side.images, side.texts, self.task.clip.model.logit_scale)


def symmetric_kl_to_teacher(teacher: Tensor, student: Tensor) -> Tensor:
    """KL(teacher ‖ student) of the in-batch matching distributions, image→text plus text→image; logits [B, B]."""

    def one_way(target: Tensor, logits: Tensor) -> Tensor:
        return nn.functional.kl_div(
            torch.log_softmax(logits, dim=1), torch.log_softmax(target, dim=1), reduction="batchmean", log_target=True
        )

    return one_way(teacher, student) + one_way(teacher.T, student.T)
