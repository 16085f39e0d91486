"""What a killed DVC leaves: locks that outlived their process, and records that it was writing, which it does in place.

Our own locks are dropped by the system, and our own files appear complete or not at all.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import yaml

from expunge.lineage.dvc.holders import holders_file, read_holders, runs
from expunge.lineage.dvc.locks import LOCK
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.repair.state import BlockingState, Site


def dvc_lock_state(site: Site) -> Iterator[BlockingState]:
    """DVC's file of readers and writers is damaged, or names processes of which none runs any more."""
    path = holders_file(site.paths)
    if not path.is_file() or not (reason := _stale(site.paths)):
        return
    yield BlockingState(
        path.relative_to(site.paths.root).as_posix(),
        f"DVC's lock {reason}, so that a stage may wait for nobody.",
        "remove it",
        mend=lambda by: _remove(path),
    )


def damaged_record_state(site: Site) -> Iterator[BlockingState]:
    """A `dvc.lock` that nobody can read stops every command of DVC."""
    paths = site.paths
    for path in (paths.root / LOCK, *sorted(paths.live.parent.glob(f"*/{LOCK}"))):
        if path.is_file() and not _is_record(path):
            yield BlockingState(
                path.relative_to(paths.root).as_posix(),
                "It cannot be read, and no command of DVC works until it can.",
                "set it aside and let DVC record the files as they are, which certificates vouch for; what is missing "
                "or unfinished is built again by `dvc repro`",
                mend=partial(_record_again, site, path),
            )


def _is_record(path: Path) -> bool:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        return content["schema"] == "2.0" and isinstance(content["stages"], dict)
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError):
        return False


def _record_again(site: Site, path: Path, by: str) -> str:
    from expunge.lineage.dvc.objects import opened

    aside = path.with_name(f"{path.name}.damaged")
    path.replace(aside)
    done = f"{path} is set aside as {aside.name}"
    try:
        with opened(site.paths) as repo:
            repo.commit(str(path.with_name("dvc.yaml").resolve()), force=True)
    except ExpungeError:
        return f"{done}; `dvc repro` builds what it cannot find."
    return f"{done}, and written again."


def _stale(paths: Paths) -> str | None:
    try:
        pids = read_holders(paths).processes
    except ExpungeError:
        return "cannot be read"
    return "names processes that have ended" if pids and not any(map(runs, pids)) else None


def _remove(path: Path) -> str:
    path.unlink(missing_ok=True)
    return f"{path} is gone."
