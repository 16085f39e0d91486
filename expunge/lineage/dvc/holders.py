"""Who reads and writes the project's files at this moment, by the list that DVC keeps in `.dvc/tmp/rwlock`.

A stage's outputs stand in it as long as its command runs, and `dvc status` fails on each of them ("is busy").
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths


@dataclass(frozen=True)
class Holders:
    """Path → process id: who writes it, and everybody who reads or writes at all."""

    writers: dict[str, int]
    processes: frozenset[int]


def holders_file(paths: Paths) -> Path:
    """DVC's list."""
    return paths.root / ".dvc" / "tmp" / "rwlock"


def read_holders(paths: Paths) -> Holders:
    """DVC's list, with paths as it writes them; empty where nothing runs.

    Raises:
        ExpungeError: it cannot be read.
    """
    file = holders_file(paths)
    try:
        content = json.loads(file.read_text(encoding="utf-8") or "{}")
        writers = {path: int(one["pid"]) for path, one in content.get("write", {}).items()}
        readers = {int(one["pid"]) for several in content.get("read", {}).values() for one in several}
    except FileNotFoundError:
        return Holders({}, frozenset())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ExpungeError(f"{file} cannot be read; `expunge repair` removes it.") from None
    return Holders(writers, frozenset({*writers.values(), *readers}))


def written_now(paths: Paths) -> dict[str, int]:
    """Path, relative to the root → the living process that writes it; empty where DVC's list cannot be read."""
    try:
        writers = read_holders(paths).writers
    except ExpungeError:
        return {}  # which is a state of its own that stops the project
    root = paths.root.resolve()
    return {
        Path(path).relative_to(root).as_posix(): pid
        for path, pid in writers.items()
        if Path(path).is_relative_to(root) and runs(pid)
    }


def runs(pid: int) -> bool:
    """Whether a process with this number runs."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
