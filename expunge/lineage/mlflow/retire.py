"""The weights and reports of purged releases, taken out of MLflow.

Runs and versions stay, tagged `purged`: they hold digests and figures, and a registry with gaps explains nothing. What
goes is every file that MLflow keeps of them, and every file of older contents of the releases that stay, deleted runs
and models included, whose files MLflow would keep until `mlflow gc`.
"""

from __future__ import annotations

import shutil
import sqlite3
from collections.abc import Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

from expunge.lineage.mlflow.store import SQLITE, Store, all_pages, existing_store, plain_errors, tracking_uri
from expunge.lineage.settings import MlflowParams
from expunge.project.paths import Paths

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

TAG = "purged"


@dataclass(frozen=True)
class MlflowHoldings:
    """What MLflow keeps, sorted by whether a purge leaves it alone.

    Attributes:
        folders: files of runs and models to be removed that lie on this machine.
        remote: addresses of such files elsewhere.
        aliases: alias → release, of versions whose weights go.
        home: the database and the folder of all files, where they lie on this machine.
    """

    folders: list[Path]
    remote: list[str]
    aliases: dict[str, str]
    home: list[Path]


def survey(paths: Paths, params: MlflowParams, kept: Mapping[str, str]) -> MlflowHoldings:
    """What MLflow holds of this project, given release → release digest of the releases that stay."""
    home = [path for path in [database(paths, params)] if path]
    store = existing_store(paths, params)
    if store is None:
        return MlflowHoldings([], [], {}, home)
    with plain_errors(tracking_uri(paths, params)):
        staying = [version for version in store.versions() if _stays(version, kept)]
        leaving = {str(version.version): version for version in store.versions() if version not in staying}
        aliases = {
            alias: leaving[number].tags.get("release", "?")
            for alias, number in store.aliases().items()
            if number in leaving
        }
        location = _local(store.client.get_experiment(store.experiment_id).artifact_location)
        models = {version.source.rpartition("/")[2] for version in staying if version.source}  # `models:/m-…`
        keep = {version.run_id for version in staying} | models
        home += [location] if location else []
        addresses = {name: uri for name, uri in _addresses(store) if name not in keep}
        # Inside the project every folder is the project's; elsewhere another experiment may keep its files beside.
        own = location is not None and location.is_relative_to(paths.root.resolve())
        folders = [
            path
            for path in (_artifact_folders(location) if location else ())
            if path.name not in keep and (own or path.name in addresses)
        ]
        remote = [] if location else sorted(addresses.values())
    return MlflowHoldings(folders, remote, aliases, home)


def retire(paths: Paths, params: MlflowParams, kept: Mapping[str, str], by: str) -> None:
    """Remove the files of every run and model that does not belong to a release that stays, and tag what they were of.

    Raises:
        ExpungeError: MLflow cannot be reached or refuses.
    """
    found = survey(paths, params, kept)
    for folder in found.folders:
        shutil.rmtree(folder, ignore_errors=True)
    store = existing_store(paths, params)
    if store is None:
        return
    with plain_errors(tracking_uri(paths, params)):
        from mlflow.store.artifact.artifact_repository_registry import get_artifact_repository

        for uri in found.remote:
            get_artifact_repository(uri).delete_artifacts()
        for version in store.versions():
            if not _stays(version, kept) and TAG not in version.tags:
                store.client.set_model_version_tag(store.model, version.version, TAG, by)
                if version.run_id:
                    store.client.set_tag(version.run_id, TAG, by)
    if (file := database(paths, params)) is not None:
        with closing(sqlite3.connect(file)) as connection:
            connection.execute("VACUUM")  # free pages keep what was deleted


def database(paths: Paths, params: MlflowParams) -> Path | None:
    """The SQLite file behind MLflow, None where it is another database or does not exist."""
    uri = tracking_uri(paths, params)
    file = Path(uri.removeprefix(SQLITE))
    return file if uri.startswith(SQLITE) and file.is_file() else None


def _stays(version: ModelVersion, kept: Mapping[str, str]) -> bool:
    return kept.get(version.tags.get("release", "")) == version.tags.get("release_digest")


def _local(uri: str) -> Path | None:
    parts = urlparse(uri)
    return Path(unquote(parts.path)) if parts.scheme in ("", "file") else None


def _artifact_folders(location: Path) -> Iterator[Path]:
    """One folder per run and one per logged model, named by its id."""
    for folder in (location, location / "models"):
        if folder.is_dir():
            yield from (path for path in sorted(folder.iterdir()) if path.is_dir() and path.name != "models")


def _addresses(store: Store) -> Iterator[tuple[str, str]]:
    """Id and artifact address of every run, deleted ones included, and of every model."""
    from mlflow.entities import ViewType

    for run in all_pages(store.client.search_runs, [store.experiment_id], run_view_type=ViewType.ALL):
        yield run.info.run_id, run.info.artifact_uri
    for model in all_pages(store.client.search_logged_models, [store.experiment_id]):
        yield model.model_id, model.artifact_location
