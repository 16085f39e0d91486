"""Exact unlearning of a model that was trained in slices (SISA, arXiv 1912.03817; S3T, arXiv 2406.16257).

The slices that held forgotten samples, and those behind them in their shards, are trained again without them; all other
parts are the parent's. The model has the bits of one that never saw the samples: it is the computation of `retrain`,
with what did not depend on them taken as it is. `expunge.models.slices` says how such a model is built.
"""

from __future__ import annotations

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.project.errors import ExpungeError
from expunge.project.progress import ProgressReport
from expunge.unlearning.method import Rebuild
from expunge.unlearning.settings import NoParams


class Exact(Rebuild):
    """Only what depended on the forgotten samples is trained again."""

    params: NoParams

    def build(
        self, checkpoint: Checkpoint | None, progress: ProgressReport | None
    ) -> tuple[Clip, list[dict[str, float]]]:
        if self.problem.training.sharded is None:
            raise ExpungeError(
                "Only a model that was trained in slices forgets exactly; set train.sharded and train anew, or choose "
                "another method."
            )
        model, rows = self.problem.from_scratch()
        return model, [{"step": row.step, "loss": row.loss} for row in rows]
