"""The whole recipe of training: both towers together, then, where `train.text_finish` asks for it, the texts alone.

Pictures cost three quarters of a step, captions a quarter. So once pictures are told apart well enough the image tower
stays as it is, every picture is run once more, and the text tower goes on alone, in large batches (locked-image tuning,
Zhai et al., CVPR 2022, arXiv 2111.07991): on the embedded corpus 24 epochs and 96 such steps give the recall of 64
epochs at half the cost.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, given, is_text, train_on
from expunge.models.originals import Originals
from expunge.models.pairs import Pairs
from expunge.models.settings import LessonParams
from expunge.models.training import TrainingRow, schedule, train
from expunge.project.progress import ProgressReport, brief
from expunge.settings import Params

BLOCK = 256
"""Pictures that are encoded together."""


def train_by_recipe(
    clip: Clip,
    pairs: Pairs | Originals,
    params: Params,
    checkpoint: Callable[[str], Checkpoint],
    progress: ProgressReport | None = None,
) -> list[TrainingRow]:
    """Train `clip` in place on `pairs` by `params.train` and return the curve, one row per step.

    Args:
        checkpoint: name of a stage → where its state is kept; cleared once all is done.

    Raises:
        ExpungeError: training cannot begin, or diverged.
    """
    recipe = params.train
    finish = recipe.text_finish if recipe.epochs else None  # no epochs: the model stays as it is
    together, alone = checkpoint("together"), checkpoint("text_finish")
    report = _part(progress, 0, finish.steps if finish else 0)
    curve = train(clip, pairs, recipe, params.compute, params.seed, together, report)
    if finish:
        lesson = Lesson(pairs, given(_image_embeddings(clip, pairs)), recipe, params.compute, params.seed)
        done, epoch = len(curve), min(finish.batch_size, len(pairs)) / len(pairs)
        for row in train_on(clip, lesson, finish, is_text, alone, _part(progress, done, 0)):
            step = int(row["step"])
            rate = _rate(finish, step, recipe.warmup_fraction)
            curve.append(TrainingRow(done + step, recipe.epochs + step * epoch, row["loss"], rate))
    together.clear()
    alone.clear()
    return curve


def _image_embeddings(clip: Clip, pairs: Pairs | Originals) -> Tensor:
    """Unit embeddings [N, D] of all pictures, not augmented."""
    blocks = [range(start, min(start + BLOCK, len(pairs))) for start in range(0, len(pairs), BLOCK)]
    encoded = []
    with brief("encode pictures") as report:
        for block in blocks:
            encoded.append(clip.encode_images(pairs.images(block)))
            report(block[-1] + 1, len(pairs))
    return torch.cat(encoded)


def _rate(finish: LessonParams, step: int, warmup_fraction: float) -> float:
    return finish.learning_rate * schedule(step - 1, finish.steps, warmup_fraction)


def _part(progress: ProgressReport | None, before: int, after: int) -> ProgressReport | None:
    """`progress` of one stage as a part of the whole."""
    if progress is None:
        return None

    def report(step: int, total: int, value: float | None = None) -> None:
        progress(before + step, before + total + after, value)

    return report
