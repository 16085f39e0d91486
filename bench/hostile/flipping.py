"""Random bit flips in everything that a decision rests on: is each noticed, and its place named?

A place is a file, or a table of a database, whose bits would seldom be drawn among the free pages of its file. Places
are drawn evenly, then a bit. What git and DVC keep for themselves is left out; certificates list it as not covered.
"""

from __future__ import annotations

import random
import sqlite3
import struct
from contextlib import closing
from pathlib import Path
from typing import Any

import yaml
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from bench.hostile.row import Outcome
from bench.hostile.scene import Scene
from expunge.lineage.dvc.locks import LOCK
from expunge.project.errors import ExpungeError
from expunge.proof.coverage import NOT_COVERED
from expunge.proof.project import verify_project
from expunge.proof.recorded import CURVES

NAMED = "noticed and named"
LEFT_OUT = (".git/", ".dvc/")
NO_ROW, IGNORE_FILES, MLFLOWS_OWN, STALE, SAME_KEY = (
    next(sentence for sentence in NOT_COVERED if start in sentence)
    for start in ("hold no row", ".dvcignore", "points of curves", "DVC's lock files", "key's file")
)
UNREAD = {
    "experiments": {"name", "creation_time", "last_update_time", "artifact_location"},
    "runs": {"name", "user_id", "start_time", "end_time", "source_type", "source_name", "entry_point_name"}
    | {"source_version", "deleted_time"},
    "metrics": {"*"},
    "latest_metrics": {"timestamp", "step"},
    "inputs": {"step", "source_type"},
    "datasets": {"experiment_id"},
    "logged_models": {"creation_timestamp_ms", "last_updated_timestamp_ms"},
    "logged_model_tags": {"experiment_id"},
    "logged_model_metrics": {"metric_step", "metric_timestamp_ms", "experiment_id"},
    "registered_models": {"creation_time", "last_updated_time"},
    "model_versions": {"creation_time", "last_updated_time", "user_id"},
    "workspaces": {"*"},
    "alembic_version": {"*"},
}
"""Columns of MLflow's tables to which the sentence on points of curves, times, users and names applies; `*` is all."""
OWN_KEYS = (*CURVES, "cost.", "cost/", "mlflow.")
"""Rows under these keys are not covered either: points of curves, costs, MLflow's own tags."""


class Flips:
    """Bit flips in one project, which is put back after each."""

    def __init__(self, scene: Scene) -> None:
        self.what = "bit flips: noticed, and the place named"
        self._scene = scene
        self._key = scene.paths.root / scene.site.params.certificate.private_key
        files = (
            path for path in scene.root.rglob("*") if (path.is_file() and path.suffix != ".lock") or path.name == LOCK
        )
        self._files = sorted(path for path in files if not self._shown(path).startswith(LEFT_OUT))
        self._tables = [(path, table) for path in self._files if path.suffix == ".db" for table in _tables(path)]

    def attempt(self, number: int, draw: random.Random) -> Outcome:
        """Flip one bit, verify the project, put the bit back."""
        assert number or not verify_project(self._scene.paths, self._scene.site.params).problems
        place = draw.choice([*self._files, *self._tables])
        path, table = place if isinstance(place, tuple) else (place, None)
        content = path.read_bytes()
        rows = _rows(path)
        where = self._shown(path) + (_change_cell(path, table, draw) if table else _flip(path, content, draw))
        try:
            if self._is_named(path):
                return Outcome(note=NAMED)
            now = _rows(path)
            if rows is not None and rows == now:
                return Outcome(note=NO_ROW)
            if now is not None and path.name == "mlflow.db" and _is_mlflows_own(rows or [], now):
                return Outcome(note=MLFLOWS_OWN)
            if path == self._key and _private(content) == _private(path.read_bytes()):
                return Outcome(note=SAME_KEY)
            if path.name == LOCK and _written(content) == _written(path.read_bytes()):
                return Outcome(note=STALE)
            return Outcome(note=IGNORE_FILES) if path.name in (".dvcignore", ".gitignore") else Outcome((where,))
        finally:
            path.write_bytes(content)

    def _shown(self, path: Path) -> str:
        return path.relative_to(self._scene.root).as_posix()

    def _is_named(self, path: Path) -> bool:
        """Whether a check fails, or names a change, and says where: by the file, or by what the file holds."""
        try:
            found = verify_project(self._scene.paths, self._scene.site.params)
        except ExpungeError as error:
            return self._says(str(error), path)
        return any(self._says(f"{one.where} {one.what} {one.found}", path) for one in (*found.problems, *found.changes))

    def _says(self, text: str, path: Path) -> bool:
        paths, names = self._scene.paths, [self._shown(path)]
        if path in (paths.key, paths.ledger_head) or path.name.startswith("ledger.db"):
            names.append("ledger")
        if path in (paths.key, paths.suppression_head):
            names.append("suppression")
        if path.parent == paths.root / ".expunge" / "keys":
            names += ["signature", "certificate", "key"]
        if path.name == "mlflow.db" or "mlartifacts" in path.parts:
            names += ["MLflow", "clip/"]
        return any(name in text for name in names)


def _flip(path: Path, content: bytes, draw: random.Random) -> str:
    bit = draw.randrange(8 * max(1, len(content)))
    changed = bytearray(content or b"\0")
    changed[bit // 8] ^= 1 << bit % 8
    path.write_bytes(bytes(changed))
    return f" bit {bit}"


def _private(pem: bytes) -> bytes | None:
    """The key that a file holds, None where it holds none."""
    try:
        key = load_pem_private_key(pem, None)
    except (TypeError, ValueError):
        return None
    return key.private_bytes(Encoding.DER, PrivateFormat.PKCS8, NoEncryption())


def _tables(database: Path) -> list[str]:
    """Tables that hold rows."""
    with closing(sqlite3.connect(database)) as connection:
        names = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table' ORDER BY name").fetchall()
        return [name for (name,) in names if connection.execute(f'SELECT 1 FROM "{name}" LIMIT 1').fetchone()]


def _change_cell(path: Path, table: str, draw: random.Random) -> str:
    """Change one bit of one value of one row, whatever the database thinks of it."""
    with closing(sqlite3.connect(path)) as connection:
        columns = [row[1] for row in connection.execute(f'PRAGMA table_info("{table}")')]
        rows = connection.execute(f'SELECT * FROM "{table}"').fetchall()
        while True:
            row, column = draw.choice(rows), draw.randrange(len(columns))
            if row[column] is None:
                continue
            same = " AND ".join(f'"{name}" IS ?' for name in columns)
            statement = f'UPDATE "{table}" SET "{columns[column]}" = ? WHERE {same}'
            try:
                connection.execute(statement, (_other(row[column], draw), *row))
                connection.commit()
            except sqlite3.IntegrityError:
                connection.rollback()
                continue
            return f" {table}.{columns[column]}"


def _other(value: Any, draw: random.Random) -> Any:
    if isinstance(value, int):
        return value ^ 1 << draw.randrange(8)
    if isinstance(value, float):
        (bits,) = struct.unpack("<Q", struct.pack("<d", value))
        return struct.unpack("<d", struct.pack("<Q", bits ^ 1 << draw.randrange(20, 52)))[0]
    if isinstance(value, bytes):
        return bytes([value[0] ^ 1]) + value[1:] if value else b"x"
    at = draw.randrange(len(value)) if value else 0
    return value[:at] + chr(ord(value[at]) ^ 1) + value[at + 1 :] if value else "x"


def _written(lock: bytes) -> list[tuple[str, Any]] | None:
    """What a lock file of DVC says of files that stages wrote or read from each other, None where it cannot be read."""
    try:
        stages = yaml.safe_load(lock)["stages"]
        outs = {item["path"] for stage in stages.values() for item in stage.get("outs", ())}
        items = [(name, item) for name, stage in stages.items() for kind in ("deps", "outs") for item in stage[kind]]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError):
        return None
    return [(name, item if item["path"] in outs else item["path"]) for name, item in items]


Rows = list[tuple[str, dict[str, Any]]]


def _rows(path: Path) -> Rows | None:
    """All rows that SQL can read of a database, None of other files and of a database that cannot be read."""
    if path.suffix != ".db":
        return None
    try:
        with closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            schema = [("", dict(row)) for row in connection.execute("SELECT type, name, sql FROM sqlite_master")]
            names = [row["name"] for _, row in schema if row["type"] == "table"]
            return schema + [
                (name, dict(row)) for name in names for row in connection.execute(f'SELECT * FROM "{name}"')
            ]
    except sqlite3.Error:
        return None


def _is_mlflows_own(before: Rows, after: Rows) -> bool:
    """Whether only values differ that are listed as not covered."""
    if len(before) != len(after):
        return False
    for (table, old), (_, new) in zip(before, after, strict=True):
        unread = UNREAD.get(table, set()) | {"workspace"}
        own = str(old.get("key", old.get("tag_key", ""))).startswith(OWN_KEYS)
        own |= table == "experiments" and old["experiment_id"] == 0  # made by MLflow for whoever names none
        if not own and "*" not in unread and {column for column in old if old[column] != new.get(column)} - unread:
            return False
    return True
