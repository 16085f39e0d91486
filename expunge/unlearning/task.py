"""What an unlearning method is given: the model to change, what to forget, what to keep, what was never seen."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expunge.clip import Clip
from expunge.config import ComputeParams, TrainParams
from expunge.pairs import Pairs
from expunge.training import TrainingRow


@dataclass(frozen=True)
class Task:
    """One unlearning problem.

    Attributes:
        clip: the parent's model; the method changes it in place.
        forget: F pairs to forget.
        retain: R trained pairs that must stay as they are, neighbours of the forget set among them.
        is_neighbour: bool [R], which retained pairs are neighbours.
        held_out: pairs that no model was ever trained on.
        retained_captions: canonical captions of every pair that stays in training.
        training: the recipe that the model was trained with; its caption and template draws are reused.
        from_scratch: trains a new model without the forget set (and without what earlier releases forgot).
        compute: device and precision.
        seed: all draws of a method come from generators seeded by it.
    """

    clip: Clip
    forget: Pairs
    retain: Pairs
    is_neighbour: np.ndarray
    held_out: Pairs
    retained_captions: list[str]
    training: TrainParams
    from_scratch: Callable[[], tuple[Clip, list[TrainingRow]]]
    compute: ComputeParams
    seed: int


@dataclass(frozen=True)
class Encoded:
    """Unit embeddings of pairs under the parent's model: images and canonical captions, float32 [N, D], CPU."""

    images: Tensor
    texts: Tensor

    @property
    def similarities(self) -> Tensor:
        """Cosine of each pair, [N]."""
        return (self.images * self.texts).sum(dim=1)


@dataclass(frozen=True)
class Teacher:
    """The parent's embeddings of the three sets of a task.

    Encoding a pair once costs a third of a training step on it, and no copy of the weights has to be kept, so a step
    of any method costs what a training step costs.
    """

    forget: Encoded
    retain: Encoded
    held_out: Encoded

    @classmethod
    def of(cls, task: Task) -> Teacher:
        """Encode the task's pairs; to be called before a method changes the model."""
        return cls(*(_encode(task.clip, pairs) for pairs in (task.forget, task.retain, task.held_out)))


def _encode(clip: Clip, pairs: Pairs) -> Encoded:
    step = 256
    positions = [range(start, min(start + step, len(pairs))) for start in range(0, len(pairs), step)]
    images = [clip.encode_images(pairs.images(list(block))) for block in positions]
    stacked = torch.cat(images) if images else torch.empty(0, clip.embed_dim)
    # `clone` takes the tensors out of inference mode, so that they can stand in a loss.
    return Encoded(stacked.clone(), clip.encode_texts(pairs.canonical()).clone())
