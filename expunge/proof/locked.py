"""DVC's lock files against the workspace: digest, size and number of files of what a stage wrote or read.

DVC trusts a digest that it computed before as long as a file's time and size are the same; here every byte is read.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

from expunge.lineage.account import Comparison
from expunge.lineage.checks import ABSENT, compare, problem
from expunge.lineage.dvc.locks import LOCK, OUTPUTS, relative
from expunge.project.files import CHUNK
from expunge.project.paths import Paths

Measured = tuple[str, int, int | None]
"""MD5 as DVC computes it, size in bytes, and of a folder the number of files."""


def lock_checks(paths: Paths) -> list[Comparison]:
    """One check for each output and each input that a stage of this project wrote; what is gone counts as missing."""
    entries = [entry for lock in _locks(paths) for entry in _entries(paths, lock)]
    written = {item.get("path") for _, kind, item in entries if kind == "outs"}
    measured: dict[str, Measured | None] = {}
    checks = []
    for lock, kind, item in entries:
        if kind == "unreadable":
            checks.append(problem("lock file of DVC", lock, str(item["reason"])))
            continue
        path = str(item.get("path"))
        if kind == "deps" and path not in written:
            # Code and settings that people edit: DVC says that their stages are out of date.
            if not (paths.root / path).exists():
                gone = compare(f"{path} as read by a stage", lock, str(item.get("md5")), ABSENT)
                checks.append(gone.model_copy(update={"state": "changed"}))
            continue
        if path not in measured:
            measured[path] = measure(paths.root / path)
        checks.append(_check(lock, kind, path, item, measured[path]))
    return checks


def _check(lock: str, kind: str, path: str, item: dict[str, Any], found: Measured | None) -> Comparison:
    what = f"{path} as {'written' if kind == 'outs' else 'read'} by a stage"
    if found is None:
        return compare(what, lock, str(item.get("md5")), None)
    recorded = [item.get(key) for key in ("md5", "size", "nfiles")]
    return compare(
        what, lock, _spelled(recorded), _spelled([str(value) if value is not None else None for value in found])
    )


def _spelled(values: list[Any]) -> str:
    return ", ".join(f"{name} {value}" for name, value in zip(("md5", "size", "files"), values, strict=True) if value)


def _locks(paths: Paths) -> list[Path]:
    found = [path for name in (LOCK, OUTPUTS) for path in sorted(paths.live.parent.glob(f"*/{name}"))]
    return [path for path in (paths.root / LOCK, *found) if path.is_file()]


def _entries(paths: Paths, lock: Path) -> Iterator[tuple[str, str, dict[str, Any]]]:
    where = relative(paths, lock)
    try:
        content = yaml.load(lock.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
        if lock.name == LOCK and content["schema"] != "2.0":
            raise ValueError("its schema is not 2.0")
        stages = [content] if lock.name == OUTPUTS else list(content["stages"].values())
        for stage in stages:
            for kind in ("deps", "outs"):
                for item in stage.get(kind, []):
                    if item.get("hash", "md5") != "md5" or "path" not in item:
                        raise ValueError("an entry has no path or no md5")
                    yield where, kind, item
    except (yaml.YAMLError, ValueError, KeyError, TypeError, AttributeError) as error:
        yield where, "unreadable", {"reason": f"not a lock file of DVC ({error})".splitlines()[0]}


def measure(path: Path) -> Measured | None:
    """A file or folder as DVC's lock files describe it, None where there is none."""
    if path.is_file():
        return _md5(path), path.stat().st_size, None
    if not path.is_dir():
        return None
    files = sorted(file for file in path.rglob("*") if file.is_file())
    listed = [{"md5": _md5(file), "relpath": file.relative_to(path).as_posix()} for file in files]
    listed.sort(key=lambda entry: entry["relpath"])
    digest = hashlib.md5(json.dumps(listed, sort_keys=True).encode()).hexdigest()
    return f"{digest}.dir", sum(file.stat().st_size for file in files), len(files)


def _md5(path: Path) -> str:
    digest = hashlib.md5()
    with open(path, "rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()
