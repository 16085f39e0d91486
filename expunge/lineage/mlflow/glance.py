"""Aliases and versions at a glance: what `expunge status` asks of MLflow, without MLflow's client.

To import the client takes seconds. Where the record is a SQLite file whose tables have a revision that is known here,
the few rows in question are read from it; a server, another database and an unknown revision are left to the client.
"""

from __future__ import annotations

import sqlite3
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path

from expunge.lineage.mlflow.store import SQLITE, tracking_uri
from expunge.lineage.settings import MlflowParams
from expunge.project.paths import Paths

REVISIONS = frozenset({"dc11669786a5"})
"""Revisions of MLflow's tables (`alembic_version`) of which the tests know that both ways say the same."""
WORKSPACE = "default"
DELETED = "Deleted_Internal"
"""The stage of versions that were deleted; MLflow keeps their rows."""


@dataclass(frozen=True)
class KnownVersion:
    """One version of the registered model, as far as its aliases are concerned; named as MLflow's entity names them."""

    version: str
    tags: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True)
class Glance:
    """The versions of the registered model, oldest first, and alias → version number; nothing if none is recorded."""

    versions: list[KnownVersion] = field(default_factory=list)
    aliases: dict[str, str] = field(default_factory=dict)


def glance(paths: Paths, params: MlflowParams) -> Glance | None:
    """What is recorded, or None where only MLflow's client can say."""
    uri = tracking_uri(paths, params)
    if not uri.startswith(SQLITE):
        return None
    file = Path(uri.removeprefix(SQLITE))
    if not file.is_file():
        return Glance()
    try:
        with closing(sqlite3.connect(f"{file.as_uri()}?mode=ro", uri=True)) as connection:
            return _read(connection, params)
    except sqlite3.Error:
        return None


def _read(connection: sqlite3.Connection, params: MlflowParams) -> Glance | None:
    if not {revision for (revision,) in connection.execute("SELECT version_num FROM alembic_version")} <= REVISIONS:
        return None
    about = (WORKSPACE, params.registered_model)
    is_there = connection.execute(
        "SELECT 1 FROM experiments WHERE workspace = ? AND name = ?", (WORKSPACE, params.experiment)
    )
    if is_there.fetchone() is None:
        return Glance()
    found = {
        number: KnownVersion(str(number))
        for (number,) in connection.execute(
            "SELECT version FROM model_versions WHERE workspace = ? AND name = ? AND current_stage != ? "
            "ORDER BY version",
            (*about, DELETED),
        )
    }
    for number, key, value in connection.execute(
        "SELECT version, key, value FROM model_version_tags WHERE workspace = ? AND name = ?", about
    ):
        if number in found:
            found[number].tags[key] = value
    aliases = connection.execute(
        "SELECT alias, version FROM registered_model_aliases WHERE workspace = ? AND name = ?", about
    )
    return Glance(list(found.values()), {alias: str(number) for alias, number in aliases})
