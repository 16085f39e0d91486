"""What an unlearning method is given: the model to change, what to forget, what to keep, what was never seen."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from expunge.models.clip import Clip
from expunge.models.originals import Originals
from expunge.models.pairs import Pairs, Wording
from expunge.models.settings import ComputeParams, TrainParams
from expunge.models.training import TrainingRow, possible_captions
from expunge.project.progress import brief


@dataclass(frozen=True)
class Seen:
    """Pairs as a model sees them: no pixels, so a whole corpus of them is small.

    Attributes:
        captions: canonical captions of N pairs.
        images: unit image embeddings, float32, or float16 as a store keeps them, [N, D], CPU.
        texts: unit embeddings of the captions, likewise.
    """

    captions: list[str]
    images: Tensor
    texts: Tensor

    @property
    def similarities(self) -> Tensor:
        """Cosine of each pair, float32 [N]."""
        return (self.images.float() * self.texts.float()).sum(dim=1)

    def at(self, rows: np.ndarray) -> Seen:
        """The pairs at `rows`."""
        chosen = torch.from_numpy(rows)
        return Seen([self.captions[row] for row in rows], self.images[chosen], self.texts[chosen])


@dataclass(frozen=True)
class Problem:
    """One unlearning problem.

    Attributes:
        clip: the parent's model; the method changes it in place.
        forget: F pairs to forget.
        retain: R trained pairs that must stay as they are, neighbours of the forget set among them.
        is_neighbour: bool [R], which retained pairs are neighbours.
        held_out: pairs that no model was ever trained on.
        remaining: every pair that stays in training, as the parent sees it; `retain` is a part of it, with pixels.
        wording: what may be said of the same pairs, in the same order.
        pictures: the same pairs, in the catalog's order, for methods that train on all that stays; as the recipe takes
            their pictures.
        training: the recipe that the model was trained with; its caption and template draws are reused.
        clean_start: seed → the model that training begins from by the recipe: fresh weights, or public ones.
        from_scratch: trains a new model without the forget set (and without what earlier releases forgot); of one that
            is trained in slices, what the parent's parts do not hold already.
        compute: device and precision.
        seed: all draws of a method come from generators seeded by it.
    """

    clip: Clip
    forget: Pairs
    retain: Pairs
    is_neighbour: np.ndarray
    held_out: Pairs
    remaining: Seen
    wording: Wording
    pictures: Callable[[], Pairs | Originals]
    training: TrainParams
    clean_start: Callable[[int], Clip]
    from_scratch: Callable[[], tuple[Clip, list[TrainingRow]]]
    compute: ComputeParams
    seed: int


class Teacher:
    """What the parent's model made of the problem's pairs, each part computed when it is first asked for.

    Encoding a pair once costs a third of a training step on it, and no copy of the weights has to be kept, so a step
    of any method costs what a training step costs. Captions are encoded in every template that the loop may draw: what
    is guarded in one wording only is lost in the others. Ask before the model is changed; the loop asks for everything.

    Attributes:
        problem: the problem, with the parent's model in it.
    """

    def __init__(self, problem: Problem) -> None:
        self.problem = problem

    @cached_property
    def forget(self) -> Seen:
        """The pairs to forget under their canonical captions."""
        return see(self.problem.clip, self.problem.forget)

    @cached_property
    def held_out(self) -> Seen:
        """The held-out pairs under their canonical captions."""
        return see(self.problem.clip, self.problem.held_out)

    @cached_property
    def retain_images(self) -> Tensor:
        """Unit image embeddings of the retained pairs, float32 [R, D], CPU."""
        return _images(self.problem.clip, self.problem.retain)

    @cached_property
    def captions(self) -> list[str]:
        """Every caption that the loop may draw for a pair to forget or to retain, and the canonical ones, sorted."""
        found: set[str] = set()
        for pairs in (self.problem.forget, self.problem.retain):
            found.update(pairs.canonical(), possible_captions(pairs, self.problem.training))
        return sorted(found)

    @property
    def forget_images(self) -> Tensor:
        """Unit image embeddings of the pairs to forget, float32 [F, D], CPU."""
        return self.forget.images

    def texts(self, captions: Sequence[str]) -> Tensor:
        """Unit text embeddings [B, D] of captions that the loop drew."""
        rows, texts = self._texts
        return texts[[rows[caption] for caption in captions]]

    def answer_all(self) -> None:
        """Compute every part now."""
        _ = self.forget, self.held_out, self.retain_images, self._texts

    @cached_property
    def _texts(self) -> tuple[dict[str, int], Tensor]:
        # `clone` takes the tensor out of inference mode, so that it can stand in a loss.
        texts = self.problem.clip.encode_texts(self.captions).clone()
        return {caption: row for row, caption in enumerate(self.captions)}, texts


def see(clip: Clip, pairs: Pairs) -> Seen:
    """Encode pairs under their canonical captions, in evaluation mode and float32."""
    captions = pairs.canonical()
    return Seen(captions, _images(clip, pairs), clip.encode_texts(captions).clone())


def _images(clip: Clip, pairs: Pairs) -> Tensor:
    step = 256
    blocks = [list(range(start, min(start + step, len(pairs)))) for start in range(0, len(pairs), step)]
    encoded = []
    with brief("encode pictures") as report:
        for block in blocks:
            encoded.append(clip.encode_images(pairs.images(block)))
            report(block[-1] + 1, len(pairs))
    return torch.cat(encoded).clone() if encoded else torch.empty(0, clip.embed_dim)
