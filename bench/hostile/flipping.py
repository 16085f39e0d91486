"""Random bit flips over all files that a decision rests on: is each noticed, and its place named?"""

from __future__ import annotations

import random
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from bench.hostile.scene import Scene
from expunge.project.errors import ExpungeError
from expunge.proof.project import verify_project

LEFT_OUT = (".lock", ".gitignore", ".partial")


def rows(scene: Scene, count: int, draw: random.Random) -> list[dict[str, Any]]:
    """Flip one bit, verify the project, put the bit back; files are drawn evenly, then a bit of the file."""
    assert not verify_project(scene.paths, scene.site.params).problems
    files = sorted(path for path in scene.root.rglob("*") if path.is_file() and not path.name.endswith(LEFT_OUT))
    noticed, unused, unnoticed = 0, 0, []
    for _ in range(count):
        path = draw.choice(files)
        before = path.read_bytes()
        bit = draw.randrange(8 * len(before))
        content = bytearray(before)
        content[bit // 8] ^= 1 << bit % 8
        rows_before = _rows(path)
        path.write_bytes(bytes(content))
        try:
            if _is_named(scene, path):
                noticed += 1
            elif rows_before is not None and _rows(path) == rows_before:
                unused += 1  # listed as not covered: bytes of SQLite that hold no row
            else:
                unnoticed.append(f"{path.relative_to(scene.root)} bit {bit}")
        finally:
            path.write_bytes(before)
    what = f"bit flips over {len(files)} files: noticed, and the file named"
    facts = {"part": "flips", "tried": count, "failed": len(unnoticed), "places": unnoticed}
    return [{**facts, "what": what, "held": noticed + unused, "noticed": noticed, "not_covered": unused}]


def _is_named(scene: Scene, path: Path) -> bool:
    """Whether a check fails, or names a change, and says where: by the file, or by what the file holds."""
    try:
        found = verify_project(scene.paths, scene.site.params)
    except ExpungeError as error:
        return _says(str(error), scene, path)
    said = [f"{one.where} {one.what} {one.found}" for one in (*found.problems, *found.changes)]
    return any(_says(text, scene, path) for text in said)


def _says(text: str, scene: Scene, path: Path) -> bool:
    names = [path.relative_to(scene.root).as_posix()]
    if path in (scene.paths.key, scene.paths.ledger_head) or path.name.startswith("ledger.db"):
        names += ["ledger"]
    if path in (scene.paths.key, scene.paths.suppression_head):
        names += ["suppression"]
    if path.parent == scene.root / ".expunge" / "keys":
        names += ["signature", "certificate", "key"]
    return any(name in text for name in names)


def _rows(path: Path) -> list[Any] | None:
    """All that SQL can read of a database, None of other files and of a database that cannot be read."""
    if path.suffix != ".db":
        return None
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro&immutable=1", uri=True)) as connection:
            return list(connection.iterdump())
    except sqlite3.Error:
        return None
