"""A project's own record follows the project: MLflow stores where artifacts lie as absolute addresses.

In a copied or moved folder they would name the folder that it was copied from, and what is recorded next would be
written there. So whoever opens the record first puts the project's own place in their stead.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path

from expunge.project.errors import ExpungeError

ARTIFACTS = "mlartifacts"
"""The folder of artifacts, in the project's."""
ADDRESSES = (
    ("experiments", "artifact_location"),
    ("runs", "artifact_uri"),
    ("logged_models", "artifact_location"),
    ("model_versions", "storage_location"),
)
PATIENCE = 60.0
"""Seconds that another process may hold the database."""


def follow(root: Path, database: Path) -> bool:
    """Make a project's database name the artifacts in `root`; returns whether it named others.

    A database outside of the project, and artifacts in a store of their own, are left alone.

    Raises:
        ExpungeError: the database names another folder and cannot be written.
    """
    root = root.resolve()
    if not database.is_file() or not database.resolve().is_relative_to(root):
        return False
    here = (root / ARTIFACTS).as_uri()
    with closing(sqlite3.connect(database, timeout=PATIENCE)) as connection:
        there = _elsewhere(connection, here)
        if not there:
            return False
        try:
            with connection:
                for table, column in _present(connection):
                    for old in there:
                        connection.execute(
                            f"UPDATE {table} SET {column} = ? || substr({column}, ?) "
                            f"WHERE {column} = ? OR substr({column}, 1, ?) = ?",
                            (here, len(old) + 1, old, len(old) + 1, f"{old}/"),
                        )
        except sqlite3.Error as error:
            raise ExpungeError(f"{database} names another folder's artifacts and cannot be mended ({error}).") from None
    return True


def _elsewhere(connection: sqlite3.Connection, here: str) -> list[str]:
    """Folders of artifacts of projects, by what experiments say, that are not `here`."""
    try:
        rows = connection.execute("SELECT artifact_location FROM experiments").fetchall()
    except sqlite3.Error:
        return []  # not MLflow's yet: it makes its tables when it opens the file
    return sorted({place for (place,) in rows if place and place.endswith(f"/{ARTIFACTS}") and place != here})


def _present(connection: sqlite3.Connection) -> list[tuple[str, str]]:
    tables = {name for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
    return [
        (table, column)
        for table, column in ADDRESSES
        if table in tables and column in {row[1] for row in connection.execute(f"PRAGMA table_info({table})")}
    ]
