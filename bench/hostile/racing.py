"""Races: two jobs that start at the same moment on one project, each in a process of its own."""

from __future__ import annotations

import random
import time

from bench.hostile import aftermath, worker
from bench.hostile.row import Outcome
from bench.hostile.scene import Copies

PAIRS = (
    ("release", "release"),
    ("purge", "release"),
    ("import", "import"),
    ("repair", "release"),
    ("backup", "intake"),
)
LATER = 0.5
"""Seconds by which the second job may start after the first."""


class Races:
    """Races of one pair of jobs, each in a fresh project; either may be refused in words, and then does it again."""

    def __init__(self, copies: Copies, pair: tuple[str, str]) -> None:
        self.what = f"races, {pair[0]} against {pair[1]}"
        self._copies = copies
        self._pair = pair

    def attempt(self, number: int, draw: random.Random) -> Outcome:
        """What was lost, doubled or stuck."""
        with self._copies.fresh() as scene:
            if "import" in self._pair:
                worker.drop(scene, number)
            first, second = draw.sample(self._pair, 2)
            jobs = [worker.Job(scene, name, number) for name in (first, second)]
            jobs[0].go()
            time.sleep(draw.uniform(0, LATER))
            jobs[1].go()
            said = [text for job in jobs for text in job.said()]
            faults = aftermath.faults(scene, dict.fromkeys(self._pair), number, said)
            refused = any(text.startswith("refused:") for text in said)
            return Outcome(tuple(faults), "one was refused and done again" if refused else "both went through")
