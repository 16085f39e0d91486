"""The store of releases in MLflow: one run and one version of the registered model for each."""

from __future__ import annotations

import logging
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, overload

from filelock import FileLock

from expunge.lineage.mlflow.moved import ARTIFACTS, follow
from expunge.lineage.settings import MlflowParams
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.telemetry import switch_off

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion

ADDRESS = "MLFLOW_TRACKING_URI"
SQLITE = "sqlite:///"
ABOUT_MODEL = (
    "CLIP models that forget on request: one version per release. `candidate` is the newest release that passed its "
    "gate; `champion` is chosen by a person (here or by `expunge promote`)."
)


def tracking_uri(paths: Paths, params: MlflowParams) -> str:
    """Where the record is: `MLFLOW_TRACKING_URI`, else the setting, with a relative SQLite path under the root."""
    uri = os.environ.get(ADDRESS) or params.tracking_uri
    if uri.startswith(SQLITE):
        return SQLITE + str(paths.root.resolve() / uri.removeprefix(SQLITE))
    return uri


def existing_store(paths: Paths, params: MlflowParams) -> Store | None:
    """The record for reading; None where nothing was ever recorded, and then nothing is created either.

    Raises:
        ExpungeError: MLflow cannot be reached.
    """
    if not is_there(paths, params):
        return None
    with plain_errors(tracking_uri(paths, params)):
        return Store.open(paths, params, create=False)


def is_there(paths: Paths, params: MlflowParams) -> bool:
    """Whether there is a record at all: where it is a SQLite file, that file."""
    uri = tracking_uri(paths, params)
    return not uri.startswith(SQLITE) or Path(uri.removeprefix(SQLITE)).is_file()


@contextmanager
def plain_errors(uri: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:
        from mlflow.exceptions import MlflowException
        from sqlalchemy.exc import SQLAlchemyError

        if not isinstance(error, MlflowException | SQLAlchemyError):
            raise
        shown = re.sub(r"//[^@/]*@", "//", uri)
        reason = str(error).splitlines()[0][:200].replace(uri, shown)
        raise ExpungeError(
            f"MLflow at {shown}: {reason} Check MLFLOW_TRACKING_URI and that the server runs, then try again."
        ) from error


class Store:
    """One experiment and one registered model."""

    def __init__(self, client: MlflowClient, experiment_id: str, model: str) -> None:
        self.client = client
        self.experiment_id = experiment_id
        self.model = model

    @overload
    @classmethod
    def open(cls, paths: Paths, params: MlflowParams, create: Literal[True] = True) -> Store: ...

    @overload
    @classmethod
    def open(cls, paths: Paths, params: MlflowParams, create: Literal[False]) -> Store | None: ...

    @classmethod
    def open(cls, paths: Paths, params: MlflowParams, create: bool = True) -> Store | None:
        """Connect; experiment and registered model are created, or None is returned where they are not to be."""
        switch_off()
        # A server that is down should be reported in seconds, not after MLflow's seven retries.
        os.environ.setdefault("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "2")
        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        uri = tracking_uri(paths, params)
        _set_global_uri(uri)
        # MLflow makes its tables at the first question; two who ask at once break them for good.
        lock = paths.checkpoints.parent / "mlflow-tables.lock"
        lock.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(lock):
            if uri.startswith(SQLITE):
                follow(paths.root, Path(uri.removeprefix(SQLITE)))
            return cls._opened(paths, params, uri, create)

    @classmethod
    def _opened(cls, paths: Paths, params: MlflowParams, uri: str, create: bool) -> Store | None:
        import mlflow

        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        experiment_id = _experiment(client, paths, params, uri, create)
        if experiment_id is None:
            return None
        if not client.search_registered_models(f"name = '{params.registered_model}'"):
            if not create:
                return None
            client.create_registered_model(params.registered_model, description=ABOUT_MODEL)
        return cls(client, experiment_id, params.registered_model)

    def versions(self) -> list[ModelVersion]:
        """Every version of the registered model, oldest first."""
        found = all_pages(self.client.search_model_versions, f"name = '{self.model}'")
        return sorted(found, key=lambda version: int(version.version))

    def aliases(self) -> dict[str, str]:
        """Alias → version number."""
        registered = self.client.get_registered_model(self.model)
        return {alias: str(version) for alias, version in registered.aliases.items()}

    @property
    def description(self) -> str | None:
        """What the registered model says about itself."""
        return self.client.get_registered_model(self.model).description

    def runs(self, tag: str, value: str) -> list[Run]:
        """Runs that carry a tag, oldest first; deleted ones are left out."""
        filter_string = f"tags.`{tag}` = '{value}'"
        return all_pages(self.client.search_runs, [self.experiment_id], filter_string, order_by=["start_time ASC"])

    def models(self, tag: str, value: str) -> list[LoggedModel]:
        """Logged models that carry a tag, oldest first; deleted ones are left out."""
        found = all_pages(
            self.client.search_logged_models, [self.experiment_id], filter_string=f"tags.`{tag}` = '{value}'"
        )
        return sorted(found, key=lambda model: model.creation_timestamp)


def _set_global_uri(uri: str) -> None:
    """MLflow's SQL registry looks models up through the global address, whatever the client was given.

    Setting it also writes the environment, which would override the settings of the next project in this process.
    """
    import mlflow

    before = os.environ.get(ADDRESS)
    mlflow.set_tracking_uri(uri)
    if before is None:
        os.environ.pop(ADDRESS, None)
    else:
        os.environ[ADDRESS] = before


def _experiment(client: MlflowClient, paths: Paths, params: MlflowParams, uri: str, create: bool = True) -> str | None:
    found = client.get_experiment_by_name(params.experiment)
    if found is None:
        if not create:
            return None
        # MLflow's default lies under whatever folder the process was started in.
        location = None if uri.startswith("http") else (paths.root.resolve() / ARTIFACTS).as_uri()
        return client.create_experiment(params.experiment, artifact_location=location)
    if found.lifecycle_stage == "deleted" and create:
        client.restore_experiment(found.experiment_id)
    return found.experiment_id


def all_pages(search: Any, *arguments: Any, **options: Any) -> list[Any]:
    found, token = [], None
    while True:
        page = search(*arguments, **options, page_token=token)
        found += page
        token = page.token
        if not token:
            return found
