"""What an unlearning method is given: the model to change, what to forget, what to keep, what was never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expunge.clip import Clip
from expunge.config import ComputeParams, TrainParams
from expunge.pairs import Pairs
from expunge.training import TrainingRow, possible_captions


@dataclass(frozen=True)
class Seen:
    """Pairs as a model sees them: no pixels, so a whole corpus of them is small.

    Attributes:
        captions: canonical captions of N pairs.
        images: unit image embeddings, float32 [N, D], CPU.
        texts: unit embeddings of the captions, float32 [N, D], CPU.
    """

    captions: list[str]
    images: Tensor
    texts: Tensor

    @property
    def similarities(self) -> Tensor:
        """Cosine of each pair, [N]."""
        return (self.images * self.texts).sum(dim=1)


@dataclass(frozen=True)
class Task:
    """One unlearning problem.

    Attributes:
        clip: the parent's model; the method changes it in place.
        forget: F pairs to forget.
        retain: R trained pairs that must stay as they are, neighbours of the forget set among them.
        is_neighbour: bool [R], which retained pairs are neighbours.
        held_out: pairs that no model was ever trained on.
        remaining: every pair that stays in training, as the parent sees it; `retain` is a part of it, with pixels.
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
    remaining: Seen
    training: TrainParams
    from_scratch: Callable[[], tuple[Clip, list[TrainingRow]]]
    compute: ComputeParams
    seed: int


class Teacher:
    """What the parent's model made of the task's pairs, computed before a method changes it.

    Encoding a pair once costs a third of a training step on it, and no copy of the weights has to be kept, so a step
    of any method costs what a training step costs. Captions are encoded in every template that the loop may draw: what
    is guarded in one wording only is lost in the others.

    Attributes:
        forget_images, retain_images: unit image embeddings, float32 [F, D] and [R, D], CPU.
        forget, held_out: the pairs to forget and the held-out ones under their canonical captions.
    """

    def __init__(self, task: Task) -> None:
        self.forget, self.held_out = see(task.clip, task.forget), see(task.clip, task.held_out)
        self.forget_images = self.forget.images
        self.retain_images = _images(task.clip, task.retain)
        self.captions = sorted(
            {caption for pairs in (task.forget, task.retain) for caption in possible_captions(pairs, task.training)}
        )
        # `clone` takes the tensor out of inference mode, so that it can stand in a loss.
        self._texts = task.clip.encode_texts(self.captions).clone()
        self._row = {caption: row for row, caption in enumerate(self.captions)}

    def texts(self, captions: Sequence[str]) -> Tensor:
        """Unit text embeddings [B, D] of captions that the loop drew."""
        return self._texts[[self._row[caption] for caption in captions]]


def see(clip: Clip, pairs: Pairs) -> Seen:
    """Encode pairs under their canonical captions, in evaluation mode and float32."""
    captions = pairs.canonical()
    return Seen(captions, _images(clip, pairs), clip.encode_texts(captions).clone())


def _images(clip: Clip, pairs: Pairs) -> Tensor:
    step = 256
    blocks = [list(range(start, min(start + step, len(pairs)))) for start in range(0, len(pairs), step)]
    encoded = [clip.encode_images(pairs.images(block)) for block in blocks]
    return torch.cat(encoded).clone() if encoded else torch.empty(0, clip.embed_dim)
