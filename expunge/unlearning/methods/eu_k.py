"""EU-k (Goel et al. 2022, arXiv 2201.06640): exact unlearning of the last k layers.

The last k layers go back to where training began and are trained again on what stays, while the others are frozen: what
these layers know of the forgotten pairs is nothing, exactly, and what lies below stays as it was. A layer of CLIP is a
block of either tower here, with what follows it, the maps into the joint space included; the running statistics beside
the weights go back with them. The paper trains as long as the original was trained; the recipe does that in `steps`.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, run, train_on, with_weights
from expunge.models.settings import LessonParams
from expunge.project.progress import ProgressReport
from expunge.unlearning.method import Rebuild
from expunge.unlearning.settings import WeightsParams
from expunge.unlearning.towers import CleanStartParams, clean_start
from expunge.unlearning.weights import weight_names


class EuKParams(LessonParams, CleanStartParams):
    """`blocks` is the paper's k, of each tower."""

    batch_size: Annotated[int, Field(ge=2)] = 256
    blocks: Annotated[int, Field(ge=1)] = 1


class EuK(Rebuild):
    """The last blocks of both towers from a clean start."""

    params: EuKParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        problem = self.problem
        last = set(weight_names(problem.clip.model, WeightsParams(choice="last_blocks", blocks=self.params.blocks)))
        modules = {name.rpartition(".")[0] for name in last} - {""}

        def chosen(name: str) -> bool:
            return name in last or name.rpartition(".")[0] in modules

        new = with_weights(problem.clip, clean_start(problem, self.params.clean_start), chosen)
        pictures = problem.pictures()
        images = run(pictures, problem.training, problem.seed, self.params)
        lesson = Lesson(pictures, images, problem.training, problem.compute, problem.seed)
        return new, train_on(new, lesson, self.params, chosen, checkpoint, progress)
