"""Prefect's records of this project: flow runs, task runs, logs and artifacts that name what was forgotten.

A request that came through Prefect stands in its flow run's parameters. The project keeps a Prefect home of its own
inside its folder, so every row there is the project's, and one that holds a trace goes, with what hangs on it. A home
elsewhere is shared by all projects of a user: whose a row is cannot be told, so it is not touched, and the proof says
that it is out of reach.
"""

from __future__ import annotations

import io
import sqlite3
from collections.abc import Collection
from contextlib import closing
from pathlib import Path

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.prefect_home import prefect_home
from expunge.purge.scan import Searcher

DATABASE = "prefect.db"
KEPT = ("alembic_version",)
RUNS = {"flow_run", "task_run"}
BUSY_SECONDS = 30


def own_homes(paths: Paths) -> list[Path]:
    """Prefect's homes inside the project's folder."""
    root = paths.root.resolve()
    homes = {paths.prefect_home.resolve(), prefect_home()}
    return sorted(home for home in homes if home.is_dir() and home.is_relative_to(root))


def shared_home(paths: Paths) -> Path | None:
    """Prefect's home outside of the project, None where there is none."""
    home = prefect_home()
    return home if home.is_dir() and not home.is_relative_to(paths.root.resolve()) else None


def clean(paths: Paths, searcher: Searcher) -> None:
    """Delete stored results and database rows that hold a trace; Prefect computes a missing result again.

    Raises:
        ExpungeError: the database is damaged, or kept busy by a server for too long.
    """
    for home in [*own_homes(paths), *filter(None, [shared_home(paths)])]:
        for path in sorted((home / "storage").rglob("*")):
            if path.is_file():
                with open(path, "rb") as stream:
                    hits = searcher.search(stream)
                if hits:
                    path.unlink()
    for home in own_homes(paths):
        if (home / DATABASE).is_file():
            scrub(home / DATABASE, searcher)


def scrub(database: Path, searcher: Searcher) -> int:
    """Delete every row that holds a trace, and what refers to it; return how many held one.

    Raises:
        ExpungeError: the database is damaged, or another process keeps it locked.
    """
    try:
        with closing(sqlite3.connect(database, timeout=BUSY_SECONDS)) as connection:
            connection.text_factory = bytes
            connection.execute("PRAGMA foreign_keys = ON")
            tables = connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall()
            names = [name.decode() for (name,) in tables]
            count = sum(_scrub_table(connection, name, searcher) for name in names)
            for name in names:
                _drop_orphans(connection, name, names)
            connection.commit()
            # Free pages and the write-ahead log keep what was deleted.
            connection.execute("VACUUM")
            connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
            return count
    except sqlite3.Error as error:
        raise ExpungeError(
            f"Prefect's records in {database} cannot be cleaned: {error}. Stop its server and run the purge again."
        ) from error


def _scrub_table(connection: sqlite3.Connection, table: str, searcher: Searcher) -> int:
    if table in KEPT or table.startswith("sqlite_"):
        return 0
    found = []
    for number, *values in connection.execute(f'SELECT rowid, * FROM "{table}"'):
        content = b"\0".join(value for value in values if isinstance(value, bytes))
        if searcher.search(io.BytesIO(content)):
            found.append((number,))
    connection.executemany(f'DELETE FROM "{table}" WHERE rowid = ?', found)
    return len(found)


def _drop_orphans(connection: sqlite3.Connection, table: str, tables: Collection[str]) -> None:
    """Delete logs and artifacts of runs that are gone: not all tables refer to the run by a foreign key."""
    columns = {row[1].decode() for row in connection.execute(f'PRAGMA table_info("{table}")')}
    for run in RUNS & set(tables):
        if f"{run}_id" in columns:
            gone = f'"{run}_id" IS NOT NULL AND "{run}_id" NOT IN (SELECT id FROM "{run}")'
            connection.execute(f'DELETE FROM "{table}" WHERE {gone}')
