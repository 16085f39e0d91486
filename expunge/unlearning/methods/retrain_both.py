"""Both towers from a clean start, one after the other: text against the old pictures, pictures against the new texts.

    θ_t  by `retrain_text`, against the parent's image embeddings
    θ_i  by `retrain_image`, against the embeddings of the new text tower
    then a short joint training of both, by the recipe

No weight of the result began where the forgotten pairs had left it. The parent's image embeddings of what stays, which
the first stage is taught by, are still those of a model that saw them, so this is not retraining; what passes on that
way is what retained pictures look like, not what was said of forgotten ones. The joint training lets the towers settle
on each other: against frozen texts alone pictures lie too near to their captions.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.lesson import Lesson, given, run, train_on
from expunge.models.settings import LessonParams
from expunge.project.progress import ProgressReport
from expunge.project.schema import Positive
from expunge.unlearning.method import Rebuild
from expunge.unlearning.methods.retrain_image import ImageTowerParams, retrained
from expunge.unlearning.towers import CleanStartParams, clean_start, train_text_tower, with_text_tower


class PolishParams(LessonParams):
    """A few steps of ordinary training, at a learning rate that moves the towers little."""

    batch_size: Annotated[int, Field(ge=2)] = 128
    steps: Annotated[int, Field(ge=1)] = 32
    learning_rate: Positive = 0.0005


class RetrainBothParams(CleanStartParams):
    """The three stages, in their order."""

    text: LessonParams = LessonParams()
    image: ImageTowerParams = ImageTowerParams()
    polish: PolishParams = PolishParams()


class RetrainBoth(Rebuild):
    """Neither tower's weights have seen what they forget."""

    params: RetrainBothParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        problem, params, recipe = self.problem, self.params, self.problem.training
        start = clean_start(problem, params.clean_start)
        total = params.text.steps + params.image.steps + params.polish.steps
        curve: list[dict[str, float]] = []

        def kept(stage: str) -> Checkpoint | None:
            return checkpoint.part(stage) if checkpoint else None

        def later(step: int, _: int, loss: float | None = None) -> None:
            if progress:
                progress(len(curve) + step, total, loss)

        new = with_text_tower(problem.clip, start)
        images = given(problem.remaining.images)
        lesson = Lesson(problem.wording, images, recipe, problem.compute, problem.seed)
        curve = _after(curve, train_text_tower(new, lesson, params.text, kept("text"), later))
        new, rows = retrained(problem, new, start, params.image, kept("image"), later)
        curve = _after(curve, rows)
        pictures = problem.pictures()
        shown = run(pictures, recipe, problem.seed + 1, params.polish)
        lesson = Lesson(pictures, shown, recipe, problem.compute, problem.seed + 1)
        return new, _after(curve, train_on(new, lesson, params.polish, lambda name: True, kept("polish"), later))


def _after(curve: list[dict[str, float]], rows: list[dict[str, float]]) -> list[dict[str, float]]:
    """Both curves as one; the steps of the second go on from the first."""
    return curve + [row | {"step": len(curve) + row["step"]} for row in rows]
