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

from pathlib import Path

from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.project.progress import ProgressReport
from expunge.unlearning.method import Rebuild
from expunge.unlearning.text_tower import Lesson, TextTowerParams, train_text_tower, with_text_tower

RECIPE = "recipe"


class RetrainTextParams(TextTowerParams):
    """`clean_start` is `recipe` or a folder.

    `recipe` takes the weights that training began from: fresh ones, or the public ones that the block `model` names.
    A folder holds a model that predates the data; that it does, nobody can check but you.
    """

    clean_start: str = RECIPE


class RetrainText(Rebuild):
    """The text tower never saw what it forgets; the image tower is the parent's."""

    params: RetrainTextParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        problem, start = self.problem, self.params.clean_start
        source = problem.clean_start(problem.seed) if start == RECIPE else clip.load(Path(start))
        new = with_text_tower(problem.clip, source)
        lesson = Lesson(problem.remaining.images, problem.wording, problem.training, problem.compute, problem.seed)
        return new, train_text_tower(new, lesson, self.params, checkpoint, progress)
