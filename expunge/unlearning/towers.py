"""One tower trained from a clean start against the other's embeddings, which are given: cheap retraining."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Images, Lesson, is_text, train_on, with_weights
from expunge.models.loss import TEMPERATURE
from expunge.models.originals import Originals
from expunge.models.pairs import Pairs
from expunge.models.settings import LessonParams
from expunge.models.towers import is_image
from expunge.project.errors import ExpungeError
from expunge.project.progress import ProgressReport, brief
from expunge.project.schema import Block
from expunge.project.scratch import scratch
from expunge.unlearning.problem import Problem

RECIPE = "recipe"
LAST_STAGE = ("visual.layer4.", "visual.attnpool.")
BATCH = 256


class CleanStartParams(Block):
    """`clean_start` is `recipe` or a folder.

    `recipe` takes the weights that training began from: fresh ones, or the public ones that the block `model` names.
    A folder holds a model that predates the data; that it does, nobody can check but you.
    """

    clean_start: str = RECIPE


def clean_start(problem: Problem, where: str) -> Clip:
    """The model that `where` names."""
    return problem.clean_start(problem.seed) if where == RECIPE else clip.load(Path(where))


def is_image_or_temperature(name: str) -> bool:
    """Whether a weight is trained with the image tower."""
    return is_image(name) or name in TEMPERATURE


def is_last_stage_or_temperature(name: str) -> bool:
    """Whether a weight is trained with the last stage of a ResNet and the pooling behind it."""
    return name.startswith(LAST_STAGE) or name in TEMPERATURE


def with_text_tower(clip: Clip, start: Clip) -> Clip:
    """A copy of `clip` with the text tower, and the temperature, of `start`.

    Raises:
        ExpungeError: the two are not of the same shape.
    """
    return with_weights(clip, start, is_text)


def train_text_tower(
    new: Clip,
    lesson: Lesson,
    params: LessonParams,
    checkpoint: Checkpoint | None = None,
    progress: ProgressReport | None = None,
) -> list[dict[str, float]]:
    """Train the text tower of `new` in place and return the curve, one row a step.

    Raises:
        ExpungeError: the loss stopped being a number.
    """
    return train_on(new, lesson, params, is_text, checkpoint, progress)


def answers(teacher: Clip, lesson: Lesson, params: LessonParams) -> Callable[[Sequence[str]], Tensor]:
    """What `teacher` makes of every caption that `lesson` will draw, each encoded once: captions → [B, D]."""
    drawn = {caption for step in range(params.steps) for caption in lesson.draw(step, params.batch_size)[1]}
    captions = sorted(drawn)
    rows = {caption: row for row, caption in enumerate(captions)}
    # `clone` takes the tensor out of inference mode, so that it can stand in a loss.
    texts = teacher.encode_texts(captions).clone()
    return lambda chosen: texts[[rows[caption] for caption in chosen]]


def last_stage_on(clip: Clip, pictures: Pairs | Originals) -> Images:
    """Image embeddings by the last stage alone, on what `clip` has below it; each picture is run once, as it is.

    Activations are kept in float16 in a temporary file, so memory does not grow with the corpus.

    Raises:
        ExpungeError: the image tower is not a ResNet of open_clip, so it has no such stage.
    """
    tower: Any = clip.model.visual
    if not hasattr(tower, "layer4") or not hasattr(tower, "attnpool"):
        raise ExpungeError("This image tower has no last stage that could be trained alone; set `part` to `whole`.")
    stored: np.ndarray | None = None
    caught: list[Tensor] = []
    hook = tower.layer4.register_forward_pre_hook(lambda module, inputs: caught.append(inputs[0]))
    try:
        with brief("run pictures") as report:
            for start in range(0, len(pictures), BATCH):
                rows = range(start, min(start + BATCH, len(pictures)))
                clip.encode_images(pictures.images(rows))
                found = caught.pop().cpu().half().numpy()
                if stored is None:
                    stored = scratch((len(pictures), *found.shape[1:]), np.float16)
                stored[start : start + len(rows)] = found
                report(start + len(rows), len(pictures))
    finally:
        hook.remove()

    def encode(new: Clip, rows: np.ndarray, step: int, mine: slice) -> Tensor:
        assert stored is not None
        inputs = torch.from_numpy(stored[rows[mine]]).float().to(new.device)
        visual: Any = new.model.visual
        return nn.functional.normalize(visual.attnpool(visual.layer4(inputs)).float(), dim=-1)

    return encode
