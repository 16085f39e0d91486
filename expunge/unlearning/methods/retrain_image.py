"""An image tower retrained from a clean start on what stays, against the parent's text embeddings.

    min over the image tower θ_i and the temperature:  InfoNCE(f_i(picture of n; θ_i), t°(caption of n)),  n that stays

The mirror image of `retrain_text`: the tower starts from weights that never saw the forgotten pictures, and the
embeddings t° are the parent's, of every caption and template that the recipe draws, each encoded once. Canonical
captions alone would be too few targets: pictures then snap onto them, with similarities that no retraining has.

`last_stage` retrains only the last stage of a ResNet and the pooling behind it, on activations that are cached, so no
picture is run twice; what lies below that stage keeps what it learned from the forgotten pictures. The text tower stays
the parent's, which did see the forgotten captions. Relatives: locked-image tuning with the towers exchanged (Zhai et
al., CVPR 2022, arXiv 2111.07991), and EU-k (Goel et al. 2022, arXiv 2201.06640).
"""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, run, train_on, with_weights
from expunge.models.settings import LessonParams
from expunge.project.progress import ProgressReport
from expunge.project.schema import Positive
from expunge.unlearning.method import Rebuild
from expunge.unlearning.problem import Problem
from expunge.unlearning.towers import (
    CleanStartParams,
    answers,
    clean_start,
    is_image_or_temperature,
    is_last_stage_or_temperature,
    last_stage_on,
)


class ImageTowerParams(LessonParams):
    """Smaller batches than a text tower's, since pictures are run; `part` is what is retrained."""

    batch_size: Annotated[int, Field(ge=2)] = 256
    learning_rate: Positive = 0.003
    part: Literal["whole", "last_stage"] = "whole"


class RetrainImageParams(ImageTowerParams, CleanStartParams):
    """An image tower from a clean start."""


class RetrainImage(Rebuild):
    """The image tower never saw what it forgets; the text tower is the parent's."""

    params: RetrainImageParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        start = clean_start(self.problem, self.params.clean_start)
        return retrained(self.problem, self.problem.clip, start, self.params, checkpoint, progress)


def retrained(
    problem: Problem,
    clip: Clip,
    start: Clip,
    params: ImageTowerParams,
    checkpoint: Checkpoint | None,
    progress: ProgressReport | None,
) -> tuple[Clip, list[dict[str, float]]]:
    """A copy of `clip` whose image tower began as that of `start`, and its curve.

    Raises:
        ExpungeError: the shapes differ, the tower has no last stage, or the loss stopped being a number.
    """
    pictures, whole = problem.pictures(), params.part == "whole"
    chosen = is_image_or_temperature if whole else is_last_stage_or_temperature
    images = run(pictures, problem.training, problem.seed, params) if whole else last_stage_on(clip, pictures)
    asked = Lesson(pictures, images, problem.training, problem.compute, problem.seed)
    lesson = Lesson(
        pictures, images, problem.training, problem.compute, problem.seed, texts=answers(clip, asked, params)
    )
    new = with_weights(clip, start, chosen)
    return new, train_on(new, lesson, params, chosen, checkpoint, progress)
