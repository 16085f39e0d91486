"""A text tower retrained from a clean start on what stays, against the parent's image embeddings.

    min over the text tower θ_t and the temperature:  InfoNCE(x°_n, f_t(caption of n; θ_t)),  n drawn from what stays

The text tower starts from weights that never saw the forgotten captions and is trained by the recipe's own loss,
captions, templates and optimizer. What it knows of the forgotten pairs is nothing, exactly: no level has to be
estimated, and what a retrained model makes of an unknown word this one makes of it too. The image embeddings x° are the
parent's, computed once and never augmented, so no picture is decoded or encoded and a step is cheap enough for large
batches.

The image tower stays the parent's, which did see the forgotten pictures. Relatives: locked-image tuning (Zhai et al.,
CVPR 2022, arXiv 2111.07991), and exact unlearning of the last k layers (Goel et al. 2022, arXiv 2201.06640), where the
"last layers" are a tower.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from expunge.models import clip as clips
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip, autocast, compact_vocabulary
from expunge.models.cropping import encode_cropped
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
from expunge.unlearning.method import Rebuild
from expunge.unlearning.weights import is_image

CHECKPOINT_STEPS = 32
RECIPE = "recipe"


class RetrainTextParams(Block):
    """Large batches and few steps; all else is the recipe's.

    `clean_start` is `recipe` (the weights that training began from: fresh ones, or the public ones that the block
    `model` names) or the folder of a model that predates the data. That it does, nobody can check but you.
    """

    clean_start: str = RECIPE
    batch_size: Annotated[int, Field(ge=2)] = 512
    steps: Annotated[int, Field(ge=1)] = 128
    learning_rate: Positive = 0.004


class RetrainText(Rebuild):
    """The text tower never saw what it forgets; the image tower is the parent's."""

    params: RetrainTextParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        new = self._start()
        with _text_only(new.model), compact_vocabulary(new, self._vocabulary()) as tokenize:
            recipe = self.problem.training
            groups = parameter_groups(new.model, recipe)
            optimizer = torch.optim.AdamW(groups, lr=self.params.learning_rate, betas=recipe.betas, fused=True)
            curve: list[dict[str, float]] = []
            if checkpoint and (position := checkpoint.load(new.model, optimizer)):
                curve = position["curve"]
            for step in range(len(curve), self.params.steps):
                for group in optimizer.param_groups:
                    group["lr"] = self.params.learning_rate * schedule(step, self.params.steps, recipe.warmup_fraction)
                rows, captions = self._draw(step)
                loss = self._loss(new, rows, tokenize(captions))
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                nn.utils.clip_grad_norm_([x for group in groups for x in group["params"]], recipe.clip_gradient)
                optimizer.step()
                new.model.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
                curve.append({"step": step + 1, "loss": loss.item()})
                if not math.isfinite(curve[-1]["loss"]):
                    raise ExpungeError(f"Retraining the text tower diverged at step {step + 1}; lower learning_rate.")
                if progress:
                    progress(step + 1, self.params.steps, curve[-1]["loss"])
                if checkpoint and (step + 1) % CHECKPOINT_STEPS == 0 and step + 1 < self.params.steps:
                    checkpoint.save(new.model, optimizer, {"curve": curve})
        return new, curve

    def _start(self) -> Clip:
        """The parent with the text tower, and the temperature, of the clean start."""
        problem, where = self.problem, self.params.clean_start
        start = problem.clean_start(problem.seed) if where == RECIPE else clips.load(Path(where))
        new = problem.clip.clone()
        try:
            new.model.load_state_dict(
                {
                    name: value if is_image(name) else start.model.state_dict()[name]
                    for name, value in new.model.state_dict().items()
                }
            )
        except (KeyError, RuntimeError):
            raise ExpungeError(
                f"The text tower of clean_start ({where}) does not fit the parent's; name a model of the same shape."
            ) from None
        new.model.eval()
        return new

    def _vocabulary(self) -> list[str]:
        return possible_captions(self.problem.wording, self.problem.training)

    def _draw(self, step: int) -> tuple[np.ndarray, list[str]]:
        """Rows of what stays and a caption for each: shuffled epochs as in training, cut into batches."""
        problem = self.problem
        size = len(epoch_order(problem.wording, problem.training, np.random.default_rng(problem.seed)))
        batch = min(self.params.batch_size, size)
        epoch, place = divmod(step, size // batch)
        order = epoch_order(problem.wording, problem.training, np.random.default_rng((problem.seed, epoch)))
        rows = order[place * batch : (place + 1) * batch]
        draw = np.random.default_rng((problem.seed, step, 1))
        return rows, [draw_caption(problem.wording, row, problem.training, draw) for row in rows]

    def _loss(self, new: Clip, rows: np.ndarray, tokens: Tensor) -> Tensor:
        with autocast(new.device, self.problem.compute):
            texts = encode_cropped(new, tokens)
        images = self.problem.remaining.images[rows].to(new.device)
        return contrastive_loss(images, texts, new.model.logit_scale)


@contextmanager
def _text_only(model: nn.Module) -> Iterator[None]:
    """Inside the block the image tower asks for no gradients."""
    asked: dict[str, Any] = {name: weight.requires_grad for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        weight.requires_grad_(asked[name] and not is_image(name))
    try:
        yield
    finally:
        for name, weight in model.named_parameters():
            weight.requires_grad_(asked.get(name, True))
