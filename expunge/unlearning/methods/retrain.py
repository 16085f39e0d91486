"""Retraining without the forget set: the gold standard itself, at its full price, as a method."""

from __future__ import annotations

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.project.progress import ProgressReport
from expunge.unlearning.method import Rebuild
from expunge.unlearning.settings import NoParams


class Retrain(Rebuild):
    """Exact by construction: the model has never seen what it forgets."""

    params: NoParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        # Training keeps checkpoints of its own, by what it depends on.
        clip, rows = self.problem.from_scratch()
        return clip, [{"step": row.step, "loss": row.loss} for row in rows]
