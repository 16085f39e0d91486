"""The pipeline's steps: each reads files, calls the library and writes files. They are the DVC stage commands.

`python -m expunge.steps.NAME RELEASE` runs one of them in the project's folder; `live` stands for the newest release.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext

from filelock import FileLock, Timeout

from expunge.project.errors import ExpungeError
from expunge.project.library import check_version
from expunge.project.paths import Paths
from expunge.releases.chain import check_not_half_purged, live_release
from expunge.settings import Params, load_params

Step = Callable[[Paths, Params, str], None]


def _alone(paths: Paths) -> AbstractContextManager[object]:
    """Wait until no other stage runs here and no purge: a stage whose `dvc repro` was killed may still be at work."""
    paths.stage_lock.parent.mkdir(parents=True, exist_ok=True)
    lock = FileLock(paths.stage_lock)
    try:
        return lock.acquire(timeout=0)
    except Timeout:
        print("Another stage or a purge is running; this one waits for it.", file=sys.stderr)
        return lock.acquire()


def step_main(step: Step, waits: bool = True) -> None:
    """Run `step` for the release named on the command line; a user's mistake is one line on stderr and status 1.

    Args:
        waits: for other stages and purges, and keeps them waiting.
    """
    if len(sys.argv) != 2:
        raise SystemExit(f"usage: python -m expunge.steps.{step.__name__} RELEASE")
    try:
        paths = Paths()
        check_version(paths)
        with _alone(paths) if waits else nullcontext():
            check_not_half_purged(paths)
            release = live_release(paths) if sys.argv[1] == "live" else sys.argv[1]
            step(paths, load_params(paths.params), release)
    except ExpungeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"Error: {error.filename or 'A file'}: {error.strerror or error}.", file=sys.stderr)
        raise SystemExit(1) from None
