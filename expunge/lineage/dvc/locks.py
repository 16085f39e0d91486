"""What DVC's lock files say, read without DVC: 0.02 s per file, where importing DVC takes 0.4 s.

A stage's own entry is written when the stage ends, so inside `dvc repro` only the stages before it can be read here.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths

LOCK = "dvc.lock"
OUTPUTS = "outputs.dvc"


@dataclass(frozen=True)
class LockEntry:
    """One input or output of a stage.

    Attributes:
        lock: the lock file, relative to the root.
        stage: name of the stage in that file.
        path: what was read or written, relative to the root.
        md5: its digest; a folder's ends in `.dir`.
    """

    lock: str
    stage: str
    path: str
    md5: str


@dataclass(frozen=True)
class Locks:
    """The lock files of the root and of all releases as one record."""

    outs: dict[str, LockEntry]
    deps: tuple[LockEntry, ...]

    def md5(self, path: str) -> str | None:
        """Digest of an output, None where no stage has written it yet."""
        return self.outs[path].md5 if path in self.outs else None

    def disagreements(self, lock: str) -> list[tuple[LockEntry, LockEntry]]:
        """Inputs recorded in `lock` that are not what the stage which makes them wrote, each with that output."""
        return [
            (dep, self.outs[dep.path])
            for dep in self.deps
            if dep.lock == lock and dep.path in self.outs and dep.md5 != self.outs[dep.path].md5
        ]


def read_locks(paths: Paths) -> Locks:
    """Read every lock file of the project; an empty record where there is none yet.

    Raises:
        ExpungeError: a lock file is not what DVC writes, for example after a merge.
    """
    outs: dict[str, LockEntry] = {}
    deps: list[LockEntry] = []
    releases = [path for name in (LOCK, OUTPUTS) for path in sorted(paths.live.parent.glob(f"*/{name}"))]
    for lock in [paths.root / LOCK, *releases]:
        if not lock.is_file():
            continue
        for kind, entry in _entries(lock, lock.relative_to(paths.root).as_posix()):
            if kind == "outs":
                outs[entry.path] = entry
            else:
                deps.append(entry)
    return Locks(outs, tuple(deps))


def _entries(lock: Path, name: str) -> list[tuple[str, LockEntry]]:
    try:
        # The base loader keeps every scalar a string: a digest of digits alone must not become a number.
        content = yaml.load(lock.read_text(encoding="utf-8"), Loader=yaml.CBaseLoader)
        stages = {lock.stem: content} if lock.name == OUTPUTS else content["stages"]
        return [
            (kind, LockEntry(name, stage, item["path"], item["md5"]))
            for stage, content in stages.items()
            for kind in ("deps", "outs")
            for item in content.get(kind, [])
            if "md5" in item
        ]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        raise ExpungeError(f"{lock} is not a DVC lock file; restore it from git or run `dvc repro`.") from None


def recorded_outputs(lock: Path) -> list[dict[str, Any]]:
    """What a lock file says of the outputs of its stages, as DVC writes it in a record without a command.

    Raises:
        ExpungeError: it is not what DVC writes.
    """
    try:
        content = yaml.load(lock.read_text(encoding="utf-8"), Loader=yaml.CBaseLoader)
        found = [dict(out) for stage in content["stages"].values() for out in stage.get("outs", [])]
        return [out | {key: int(out[key]) for key in ("size", "nfiles") if key in out} for out in found if out["path"]]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, ValueError, AttributeError):
        raise ExpungeError(f"{lock} is not a DVC lock file; restore it from git or run `dvc repro`.") from None


def data_version(paths: Paths) -> str | None:
    """DVC's md5 of `data/catalog`, None where DVC has not recorded it."""
    return read_locks(paths).md5(relative(paths, paths.catalog))


def relative(paths: Paths, path: Path) -> str:
    """`path` as DVC spells it: relative to the root, with forward slashes."""
    return path.relative_to(paths.root).as_posix()
