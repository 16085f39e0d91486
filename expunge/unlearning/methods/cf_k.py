"""CF-k (Goel et al. 2022, arXiv 2201.06640): let the last k layers forget by training on.

As EU-k, but the last k layers go on from the parent's weights instead of a clean start, so all there is to forgetting
is that what stays crowds it out.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, run, train_on
from expunge.models.settings import LessonParams
from expunge.project.progress import ProgressReport
from expunge.unlearning.method import Rebuild
from expunge.unlearning.settings import WeightsParams
from expunge.unlearning.weights import weight_names


class CfKParams(LessonParams):
    """`blocks` is the paper's k, of each tower."""

    batch_size: Annotated[int, Field(ge=2)] = 256
    blocks: Annotated[int, Field(ge=1)] = 1


class CfK(Rebuild):
    """The last blocks of both towers, trained on without the forgotten pairs."""

    params: CfKParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        problem, new, pictures = self.problem, self.problem.clip.clone(), self.problem.pictures()
        last = set(weight_names(new.model, WeightsParams(choice="last_blocks", blocks=self.params.blocks)))
        images = run(pictures, problem.training, problem.seed, self.params)
        lesson = Lesson(pictures, images, problem.training, problem.compute, problem.seed)
        return new, train_on(new, lesson, self.params, last.__contains__, checkpoint, progress)
