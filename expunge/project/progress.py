"""Progress on a terminal, and one plain line every half minute where there is none (logs, CI)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_SECONDS = 30
QUICK_SECONDS = 2
"""What is done within this time says nothing where there is no terminal."""


class ProgressReport(Protocol):
    """Called as `report(done, total)` or `report(done, total, loss)`."""

    def __call__(self, done: int, total: int, loss: float | None = None, /) -> None: ...


QUIET = "EXPUNGE_QUIET"
"""Set where only results and errors are wanted; steps in processes of their own inherit it."""


def is_quiet() -> bool:
    """Whether only results and errors are wanted."""
    return bool(os.environ.get(QUIET))


@contextmanager
def progress(label: str) -> Iterator[ProgressReport]:
    """Show the progress of one piece of work on stderr."""
    console = Console(stderr=True, quiet=is_quiet())
    if not console.is_terminal:
        yield _lines(label, console)
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as bars:
        task = bars.add_task(label, total=None, rate="", loss="")
        start = time.monotonic()

        def report(done: int, total: int, loss: float | None = None) -> None:
            bars.update(
                task,
                completed=done,
                total=total,
                rate=_rate(done, time.monotonic() - start),
                loss="" if loss is None else f"loss {loss:.3f}",
            )

        yield report


def _rate(done: int, seconds: float) -> str:
    """How many a second, or seconds for each where that is less than one; empty before it can be told."""
    if not done or seconds < 0.5:
        return ""
    return f"{done / seconds:,.0f}/s" if done >= seconds else f"{seconds / done:.1f} s each"


def _lines(label: str, console: Console) -> ProgressReport:
    start = last = time.monotonic()

    def report(done: int, total: int, loss: float | None = None) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= LOG_SECONDS or (done == total and now - start >= QUICK_SECONDS):
            last = now
            suffix = "" if loss is None else f", loss {loss:.3f}"
            seconds = last - start
            rate = _rate(done, seconds)
            left = f", {seconds / done * (total - done):.0f} s left" if rate and done < total else ""
            speed = f", {rate}" if rate else ""
            console.print(f"{label}: {done}/{total}{speed}{left}{suffix}", highlight=False)

    return report
