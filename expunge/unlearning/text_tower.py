"""A text tower trained from a clean start against image embeddings that are given: nothing but captions is run.

InfoNCE by the recipe's captions, templates, weight decay and schedule, in large batches. Randomness is drawn from
generators seeded by (seed, epoch) and (seed, step), so a run that was killed ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip, autocast, compact_vocabulary
from expunge.models.pairs import Wording
from expunge.models.settings import ComputeParams, TrainParams
from expunge.models.training import (
    MAX_LOGIT_SCALE,
    contrastive_loss,
    draw_caption,
    epoch_order,
    parameter_groups,
    possible_captions,
    schedule,
)
from expunge.project.errors import ExpungeError
from expunge.project.progress import ProgressReport
from expunge.project.schema import Block, Positive
from expunge.unlearning.weights import is_image

CHECKPOINT_STEPS = 32


class TextTowerParams(Block):
    """Large batches and few steps; all else is the recipe's."""

    batch_size: Annotated[int, Field(ge=2)] = 512
    steps: Annotated[int, Field(ge=1)] = 128
    learning_rate: Positive = 0.004


@dataclass(frozen=True)
class Lesson:
    """What a text tower is trained on.

    Attributes:
        images: unit image embeddings of N pairs, float32 [N, D], CPU.
        wording: what may be said of the same pairs.
        recipe: how captions are drawn and weights decay.
        compute: device and precision.
        seed: of all draws.
    """

    images: Tensor
    wording: Wording
    recipe: TrainParams
    compute: ComputeParams
    seed: int

    def draw(self, step: int, batch_size: int) -> tuple[np.ndarray, list[str]]:
        """Rows and a caption for each: shuffled epochs as in training, cut into batches."""
        drawn = self._order(0).size
        size = min(batch_size, drawn)
        epoch, place = divmod(step, drawn // size)
        rows = self._order(epoch)[place * size : (place + 1) * size]
        draw = np.random.default_rng((self.seed, step, 1))
        return rows, [draw_caption(self.wording, row, self.recipe, draw) for row in rows]

    def _order(self, epoch: int) -> np.ndarray:
        return epoch_order(self.wording, self.recipe, np.random.default_rng((self.seed, epoch)))


def with_text_tower(clip: Clip, start: Clip) -> Clip:
    """A copy of `clip` with the text tower, and the temperature, of `start`.

    Raises:
        ExpungeError: the two are not of the same shape.
    """
    new, other = clip.clone(), start.model.state_dict()
    try:
        new.model.load_state_dict(
            {name: value if is_image(name) else other[name] for name, value in new.model.state_dict().items()}
        )
    except (KeyError, RuntimeError):
        raise ExpungeError(
            "The text tower of the clean start does not fit the parent's; name a model of the same shape."
        ) from None
    new.model.eval()
    return new


def train_text_tower(
    new: Clip,
    lesson: Lesson,
    params: TextTowerParams,
    checkpoint: Checkpoint | None = None,
    progress: ProgressReport | None = None,
) -> list[dict[str, float]]:
    """Train the text tower of `new` in place and return the curve, one row a step.

    Raises:
        ExpungeError: the loss stopped being a number.
    """
    recipe = lesson.recipe
    vocabulary = possible_captions(lesson.wording, recipe)
    with _text_only(new.model), compact_vocabulary(new, vocabulary) as tokenize:
        groups = parameter_groups(new.model, recipe)
        trained = [weight for group in groups for weight in group["params"]]
        optimizer = torch.optim.AdamW(groups, lr=params.learning_rate, betas=recipe.betas, fused=True)
        curve: list[dict[str, float]] = []
        if checkpoint and (position := checkpoint.load(new.model, optimizer)):
            curve = position["curve"]
        for step in range(len(curve), params.steps):
            for group in optimizer.param_groups:
                group["lr"] = params.learning_rate * schedule(step, params.steps, recipe.warmup_fraction)
            rows, captions = lesson.draw(step, params.batch_size)
            with autocast(new.device, lesson.compute):
                texts = new.encode_tokens(tokenize(captions))
            loss = contrastive_loss(lesson.images[rows].to(new.device), texts, new.model.logit_scale)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, recipe.clip_gradient)
            optimizer.step()
            new.model.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
            curve.append({"step": step + 1, "loss": loss.item()})
            if not math.isfinite(curve[-1]["loss"]):
                raise ExpungeError(f"Retraining the text tower diverged at step {step + 1}; lower its learning_rate.")
            if progress:
                progress(step + 1, params.steps, curve[-1]["loss"])
            if checkpoint and (step + 1) % CHECKPOINT_STEPS == 0 and step + 1 < params.steps:
                checkpoint.save(new.model, optimizer, {"curve": curve})
    return curve


@contextmanager
def _text_only(model: nn.Module) -> Iterator[None]:
    """Inside the block the image tower asks for no gradients."""
    asked = {name: weight.requires_grad for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        weight.requires_grad_(asked[name] and not is_image(name))
    try:
        yield
    finally:
        for name, weight in model.named_parameters():
            weight.requires_grad_(asked.get(name, True))
