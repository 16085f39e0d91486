"""Progress on a terminal, and one plain line every half minute where there is none (logs, CI)."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

LOG_SECONDS = 30
QUICK_SECONDS = 2
"""What is done within this time says nothing where there is no terminal."""


class ProgressReport(Protocol):
    """Called as `report(done, total)` or `report(done, total, loss)`; a total of 0 is one that is not known."""

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
    with _bar(console) as bars:
        yield _shown(bars, label, time.monotonic())


@contextmanager
def brief(label: str) -> Iterator[ProgressReport]:
    """Show the progress of a part of other work, from `QUICK_SECONDS` on; nothing is left of it at its end."""
    start = time.monotonic()
    with ExitStack() as shown:
        show: ProgressReport | None = None

        def report(done: int, total: int, loss: float | None = None) -> None:
            nonlocal show
            if total and done >= total:
                return
            if show is None and time.monotonic() - start >= QUICK_SECONDS:
                console = _SHOWING[-1] if _SHOWING else Console(stderr=True, quiet=is_quiet())
                if console.is_terminal:
                    show = _shown(shown.enter_context(_bar(console, transient=True)), label, start)
                else:
                    show = _lines(label, console, start)
            if show:
                show(done, total, loss)

        yield report


_SHOWING: list[Console] = []
"""The terminal that bars are shown on: one within another must share it."""


@contextmanager
def _bar(console: Console, transient: bool = False) -> Iterator[Progress]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TextColumn("{task.fields[loss]}"),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    _SHOWING.append(console)
    try:
        with Progress(*columns, console=console, transient=transient) as bars:
            yield bars
    finally:
        _SHOWING.pop()


def _shown(bars: Progress, label: str, start: float) -> ProgressReport:
    task = bars.add_task(label, total=None, rate="", loss="")

    def report(done: int, total: int, loss: float | None = None) -> None:
        bars.update(
            task,
            completed=done,
            total=total or None,
            rate=_rate(done, time.monotonic() - start),
            loss="" if loss is None else f"loss {loss:.3f}",
        )

    return report


def _rate(done: int, seconds: float) -> str:
    """How many a second, or seconds for each where that is less than one; empty before it can be told."""
    if not done or seconds < 0.5:
        return ""
    return f"{done / seconds:,.0f}/s" if done >= seconds else f"{seconds / done:.1f} s each"


def _lines(label: str, console: Console, start: float | None = None) -> ProgressReport:
    start = last = time.monotonic() if start is None else start

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
            console.print(f"{label}: {done}{f'/{total}' if total else ''}{speed}{left}{suffix}", highlight=False)

    return report
