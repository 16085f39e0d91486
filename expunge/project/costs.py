"""What a step cost, and what of it took how long, measured in the step's own process."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass


@dataclass
class Cost:
    """Wall-clock seconds of a block; the process's peak resident memory in MB."""

    seconds: float = 0.0
    peak_memory_mb: float = 0.0


class Phases:
    """Wall-clock seconds of the parts of a piece of work, by name; parts that threads share count for each of them."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._lock = threading.Lock()

    @contextmanager
    def __call__(self, name: str) -> Iterator[None]:
        """Count the block as part `name`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            spent = time.perf_counter() - start
            with self._lock:
                self.seconds[name] = self.seconds.get(name, 0.0) + spent


@contextmanager
def measured() -> Iterator[Cost]:
    """Measure the block; the yielded `Cost` is filled when the block ends."""
    cost = Cost()
    start = time.perf_counter()
    try:
        yield cost
    finally:
        cost.seconds = round(time.perf_counter() - start, 3)
        cost.peak_memory_mb = round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1)
