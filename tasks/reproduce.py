"""Reproduce one DVC stage from a Prefect task: the files are the same as those of `dvc repro` by hand."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path

from filelock import FileLock

from expunge.lineage.dvc.locks import read_locks
from expunge.lineage.dvc.objects import reason
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths


def reproduce(target: str, alone: bool = True) -> dict[str, str]:
    """Bring a DVC stage up to date and return its outputs' paths and digests (MD5, as in dvc.lock).

    Args:
        target: a stage as DVC names it, for example `releases/r001/dvc.yaml:unlearn`.
        alone: do not look at the stages before it; the flow has run them.

    Raises:
        ExpungeError: the stage's command failed, or another process holds DVC's locks for too long.
    """
    from dvc.exceptions import DvcException
    from dvc.repo import Repo

    _use_this_python()
    _say_once()
    paths = Paths()
    paths.slot.parent.mkdir(parents=True, exist_ok=True)
    try:
        # A purge must not begin between a stage and what DVC records of it; DVC's own lock is free while a stage runs.
        with FileLock(paths.slot), Repo(str(Path.cwd()), _wait_for_lock=True) as repo:
            repo.reproduce(targets=[target], single_item=alone)
    except DvcException as error:
        raise ExpungeError(f"{target} failed: {reason(error)}") from error
    lock, _, stage = target.rpartition(":")
    lock = str(Path(lock).with_name("dvc.lock")) if lock else "dvc.lock"
    outputs = read_locks(paths).outs.values()
    return {entry.path: entry.md5 for entry in outputs if (entry.lock, entry.stage) == (lock, stage)}


def _say_once() -> None:
    """DVC prints by itself: Prefect's handler would print it again. Its hints on git are for other readers."""
    logging.getLogger("dvc").propagate = False
    for name in ("dvc.repo.scm_context", "dvc.dvcfile"):
        logging.getLogger(name).setLevel(logging.WARNING)


def _use_this_python() -> None:
    """Let the `python` of stage commands be the one that runs this, also where no environment is activated."""
    here = str(Path(sys.executable).parent)
    if os.environ.get("PATH", "").split(os.pathsep)[0] != here:
        os.environ["PATH"] = os.pathsep.join([here, os.environ.get("PATH", "")])
