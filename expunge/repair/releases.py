"""Releases that nothing may be built on: cut twice, failed at the gate, or not finished."""

from __future__ import annotations

from collections.abc import Iterator

from filelock import FileLock, Timeout

from expunge.project.paths import BASE, Paths
from expunge.releases.chain import is_finished, live_release, load_release
from expunge.releases.plan import cut_twice, cutting, has_failed, requests_of, set_back
from expunge.repair.state import BlockingState, Site


def cut_twice_state(site: Site) -> Iterator[BlockingState]:
    """The live release was cut of requests that an earlier one serves."""
    paths, live = site.paths, live_release(site.paths)
    if twice := cut_twice(paths):
        rest = [request for request in requests_of(paths, live) if request not in twice]
        waiting = f"; {', '.join(rest)} would wait for the next release" if rest else ""
        yield BlockingState(
            live,
            f"It was cut of {', '.join(twice)}, which an earlier release serves, and can never be built.",
            f"undo its cut{waiting}",
            mend=lambda by: _back(paths, live),
        )


def failed_state(site: Site) -> Iterator[BlockingState]:
    """The live release failed its gate: its requests are not served, and none can be until this ends."""
    paths, live = site.paths, live_release(site.paths)
    if has_failed(paths, live) and not cut_twice(paths):
        parent = load_release(paths, live).parent
        yield BlockingState(
            live,
            f"It failed its gate: {', '.join(requests_of(paths, live))} are not served. Nothing can be built on it.",
            f"set the chain back to {parent}, keeping the files of {live} for the record; then "
            "`expunge release --method NAME` serves the requests with the next release",
            mend=lambda by: _back(paths, live),
        )


def unfinished_state(site: Site) -> Iterator[BlockingState]:
    """The live release was cut and never registered."""
    paths, live = site.paths, live_release(site.paths)
    if live != BASE and not is_finished(paths, live) and not cut_twice(paths):
        running = _runs(paths)
        yield BlockingState(
            live,
            f"It is {'being made' if running else 'not finished'}; {', '.join(requests_of(paths, live))} wait for it.",
            "run `expunge release`, which goes on where the last run ended",
            command="expunge release",
            severity="warning" if running else "failure",
        )


def _back(paths: Paths, live: str) -> str:
    with cutting(paths):
        if live_release(paths) == live:
            set_back(paths)
    return f"The chain ends with {live_release(paths)} again."


def _runs(paths: Paths) -> bool:
    """Whether a stage of the pipeline runs at this moment."""
    if not paths.stage_lock.parent.is_dir():
        return False
    try:
        with FileLock(paths.slot).acquire(timeout=0), FileLock(paths.stage_lock).acquire(timeout=0):
            return False
    except Timeout:
        return True
