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

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, given
from expunge.models.settings import LessonParams
from expunge.project.progress import ProgressReport
from expunge.unlearning.method import Rebuild
from expunge.unlearning.towers import CleanStartParams, clean_start, train_text_tower, with_text_tower


class RetrainTextParams(LessonParams, CleanStartParams):
    """Large batches and few steps, from a clean start."""


class RetrainText(Rebuild):
    """The text tower never saw what it forgets; the image tower is the parent's."""

    params: RetrainTextParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        problem = self.problem
        new = with_text_tower(problem.clip, clean_start(problem, self.params.clean_start))
        images = given(problem.remaining.images)
        lesson = Lesson(problem.wording, images, problem.training, problem.compute, problem.seed)
        return new, train_text_tower(new, lesson, self.params, checkpoint, progress)
