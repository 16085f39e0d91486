"""Kills at random moments of intake, approval, import, release, purge and backup; then the work is done again."""

from __future__ import annotations

import random
import time

from bench.hostile import aftermath, worker
from bench.hostile.row import Outcome
from bench.hostile.scene import Copies

JOBS = ("intake", "approve", "import", "release", "purge", "backup")


class Kills:
    """Kills of one kind of job, each at a moment drawn evenly from as long as the job takes, in a fresh project.

    Args:
        seconds: how long the job takes; measured where it is not given.
    """

    def __init__(self, copies: Copies, job: str, seconds: float = 0.0) -> None:
        self.what = f"kills during {job}"
        self._copies = copies
        self._job = job
        self._seconds = seconds

    def attempt(self, number: int, draw: random.Random) -> Outcome:
        """What was lost, doubled or stuck."""
        if not self._seconds:
            with self._copies.fresh() as scene:
                self._seconds = worker.seconds_of(scene, self._job)
        with self._copies.fresh() as scene:
            job = worker.Job(scene, self._job, number)
            job.go()
            time.sleep(draw.uniform(0, self._seconds))
            job.kill()
            said = job.said()
            faults = aftermath.faults(scene, [self._job], number, said)
            return Outcome(tuple(faults), "had ended before the kill" if worker.DONE in said else "killed at work")
