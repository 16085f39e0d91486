"""Progress on a terminal, and one plain line every half minute where there is none (logs, CI)."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_SECONDS = 30


class ProgressReport(Protocol):
    """Called as `report(done, total)` or `report(done, total, loss)`."""

    def __call__(self, done: int, total: int, loss: float | None = None, /) -> None: ...


@contextmanager
def progress(label: str) -> Iterator[ProgressReport]:
    """Show the progress of one piece of work on stderr."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines(label, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(label, total=None, loss="")

        def report(done: int, total: int, loss: float | None = None) -> None:
            bars.update(task, completed=done, total=total, loss="" if loss is None else f"loss {loss:.3f}")

        yield report


def _lines(label: str, console: Console) -> ProgressReport:
    last = time.monotonic()

    def report(done: int, total: int, loss: float | None = None) -> None:
        nonlocal last
        if done == total or time.monotonic() - last >= LOG_SECONDS:
            last = time.monotonic()
            suffix = "" if loss is None else f", loss {loss:.3f}"
            console.print(f"{label}: {done}/{total}{suffix}", highlight=False)

    return report
