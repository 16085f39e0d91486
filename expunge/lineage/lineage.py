"""What every question about the lineage reads: releases, registrations, locks and MLflow, each thing once."""

from __future__ import annotations

from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.corpus.catalog import MANIFEST
from expunge.lineage import digests
from expunge.lineage.dvc.locks import Locks, read_locks
from expunge.lineage.mlflow.glance import Glance, glance
from expunge.lineage.mlflow.store import Store, existing_store
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, load_release
from expunge.releases.registration import Registration, registration_of
from expunge.releases.release import Release
from expunge.settings import Params

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion


class Project:
    """A project as its files and MLflow describe it.

    Raises:
        ExpungeError: on the first use of what is damaged or cannot be reached.
    """

    def __init__(self, paths: Paths, params: Params) -> None:
        self.paths = paths
        self.params = params
        self._hashed: dict[Path, str | None] = {}

    @cached_property
    def names(self) -> list[str]:
        """The chain from `base` to the live release."""
        return chain(self.paths)

    def release(self, name: str) -> Release | None:
        return None if name == BASE else self.releases[name]

    def parent(self, name: str) -> str | None:
        release = self.release(name)
        return release.parent if release else None

    def ancestors(self, name: str) -> list[str]:
        """From the parent up to `base`."""
        return self.names[: self.names.index(name)][::-1]

    def registration(self, name: str) -> Registration | None:
        return self._registrations[name]

    def has_passed(self, name: str) -> bool:
        registration = self.registration(name)
        return registration is not None and registration.verdict == "passed"

    def sha256(self, path: Path) -> str | None:
        if path not in self._hashed:
            self._hashed[path] = digests.sha256_if_there(path)
        return self._hashed[path]

    @cached_property
    def releases(self) -> dict[str, Release]:
        return {name: load_release(self.paths, name) for name in self.names if name != BASE}

    @cached_property
    def _registrations(self) -> dict[str, Registration | None]:
        return {name: registration_of(self.paths, name) for name in self.names}

    @cached_property
    def catalog_digest(self) -> str | None:
        return digests.catalog_digest(self.paths)

    @cached_property
    def locks(self) -> Locks:
        return read_locks(self.paths)

    @cached_property
    def store(self) -> Store | None:
        return existing_store(self.paths, self.params.mlflow)

    @property
    def record(self) -> Store:
        """The store where something was recorded.

        Raises:
            ExpungeError: nothing was.
        """
        if self.store is None:
            raise ExpungeError("Nothing is recorded in MLflow yet; run `dvc repro`.")
        return self.store

    @cached_property
    def versions(self) -> list[ModelVersion]:
        return self.store.versions() if self.store else []

    @cached_property
    def aliases(self) -> dict[str, str]:
        return self.store.aliases() if self.store else {}

    def versions_of(self, name: str) -> list[ModelVersion]:
        return [version for version in self.versions if version.tags.get("release") == name]

    def current_version(self, name: str) -> ModelVersion | None:
        """The version that holds the present content of release `name`, None where there is none."""
        current = [version for version in self.versions_of(name) if not version.tags.get("superseded_by")]
        return current[-1] if current else None

    @cached_property
    def manifest(self) -> dict[str, Any]:
        """The catalog's manifest, empty where there is no catalog."""
        path = self.paths.catalog / MANIFEST
        return read_json(path) if path.is_file() else {}


class RecordedProject(Project):
    """The same with versions and aliases read at a glance where that can be done: for who waits for the answer.

    Of a version only its number and its tags are known.
    """

    @cached_property
    def versions(self) -> list[ModelVersion]:
        return super().versions if self._glance is None else list(self._glance.versions)

    @cached_property
    def aliases(self) -> dict[str, str]:
        return super().aliases if self._glance is None else self._glance.aliases

    @cached_property
    def _glance(self) -> Glance | None:
        return glance(self.paths, self.params.mlflow)
