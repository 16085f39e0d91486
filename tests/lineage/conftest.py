"""A database with MLflow's tables, a chain that is registered, and no ledger and no server of one's own."""

from __future__ import annotations

import shutil

import pytest

from records import Ledger, built


@pytest.fixture(autouse=True)
def _no_ledger_and_no_server(monkeypatch):
    import expunge.requests.ledger

    monkeypatch.setattr(expunge.requests.ledger, "Ledger", Ledger)
    monkeypatch.setattr(Ledger, "told", [])
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)


@pytest.fixture(scope="session")
def empty(tmp_path_factory):
    """A database with MLflow's tables and nothing in them: creating one takes seconds, so it is done once."""
    from mlflow import MlflowClient

    path = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{path}").search_experiments()
    return path


@pytest.fixture(scope="session")
def tracking(empty):
    """The address of one database for tests that tell their releases apart by name."""
    return f"sqlite:///{shutil.copy(empty, empty.parent / 'shared.db')}"


@pytest.fixture(scope="session")
def chain(tmp_path_factory, empty):
    """Two releases, registered: read only."""
    import expunge.requests.ledger

    root = tmp_path_factory.mktemp("chain")
    shutil.copy(empty, root / "mlflow.db")
    original, expunge.requests.ledger.Ledger = expunge.requests.ledger.Ledger, Ledger
    try:
        return built(root, ("r001", "r002"), drawn=True)
    finally:
        expunge.requests.ledger.Ledger = original
