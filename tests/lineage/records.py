"""Projects whose releases are recorded in a real MLflow on SQLite, and a ledger that remembers what it was told."""

from __future__ import annotations

from types import SimpleNamespace
from typing import ClassVar

from expunge.lineage.mlflow.store import Store, existing_store
from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.steps.register import register
from expunge.steps.report import report
from fake_release import make_project, params_of

KNOWN_REQUESTS = ("req-0001", "req-0002", "req-0003", "req-0004")


class Ledger:
    """Takes the place of the ledger, whose own tests are elsewhere; remembers what it was told."""

    told: ClassVar[list[tuple]] = []

    @classmethod
    def open(cls, params, root):
        return cls()

    def get(self, request_id):
        if request_id != "req-0042":
            raise ExpungeError(f"There is no request {request_id}.")
        return SimpleNamespace(state="approved")

    def records(self):
        return [SimpleNamespace(request=SimpleNamespace(request_id=name)) for name in KNOWN_REQUESTS]

    def verify_chain(self):
        return SimpleNamespace(seq=4, hash="0" * 64)

    def mark_released(self, ids, release, model_digest):
        self.told.append((tuple(ids), release, model_digest))


def built(root, names=("r001",), tracking=None, registered=True, drawn=False, **kinds):
    """A project with reports (stand-ins unless `drawn`), registered in order unless told otherwise."""
    paths, params = make_project(root, names, **kinds), settings(root, tracking)
    for name in ("base", *names):
        if drawn:
            report(paths, params, name)
        else:
            write_bytes(paths.release(name).page, b"<html></html>")
        if registered:
            register(paths, params, name)
    return paths, params


def settings(root, tracking=None):
    from expunge.lineage.settings import MlflowParams

    return params_of(root, mlflow=MlflowParams(tracking_uri=tracking)) if tracking else params_of(root)


def store_of(paths, params) -> Store:
    store = existing_store(paths, params.mlflow)
    assert store is not None
    return store


def recorded(store: Store, release: str):
    """Runs, logged models and versions of a release."""
    versions = [version for version in store.versions() if version.tags["release"] == release]
    return store.runs("release", release), store.models("release", release), versions


def assert_recorded_once(store: Store, release: str) -> None:
    runs, models, versions = recorded(store, release)
    assert (len(runs), len(models), len(versions)) == (1, 1, 1)
    assert runs[0].info.status == "FINISHED"
    assert models[0].status == "READY"
    assert versions[0].source == models[0].model_uri
    assert versions[0].run_id == runs[0].info.run_id
