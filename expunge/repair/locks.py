"""Locks that outlived their process. Ours are dropped by the system; DVC's stand in files."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path

from expunge.repair.state import BlockingState, Site


def dvc_lock_state(site: Site) -> Iterator[BlockingState]:
    """DVC's file of readers and writers is damaged, or names processes of which none runs any more."""
    path = site.paths.root / ".dvc" / "tmp" / "rwlock"
    if not path.is_file() or not (reason := _stale(path)):
        return
    yield BlockingState(
        path.relative_to(site.paths.root).as_posix(),
        f"DVC's lock {reason}, so that a stage may wait for nobody.",
        "remove it",
        mend=lambda by: _remove(path),
    )


def _stale(path: Path) -> str | None:
    try:
        content = json.loads(path.read_text(encoding="utf-8") or "{}")
        holders = [
            *content.get("write", {}).values(),
            *(one for all in content.get("read", {}).values() for one in all),
        ]
        pids = {int(holder["pid"]) for holder in holders}
    except (ValueError, KeyError, TypeError, AttributeError):
        return "cannot be read"
    return "names processes that have ended" if pids and not any(map(_runs, pids)) else None


def _runs(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _remove(path: Path) -> str:
    path.unlink(missing_ok=True)
    return f"{path} is gone."
