"""Isolation: no test reads or writes the machine's DVC, Prefect or MLflow state, and nothing reports home."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from expunge.project.telemetry import switch_off

# Before anything imports Prefect: it reads its home once.
_HOME = tempfile.mkdtemp(prefix="expunge-tests-")
switch_off()
# One thread: tiny models train no faster on more, other sums give other bits, and servers run beside.
os.environ |= {
    "OMP_NUM_THREADS": "1",
    "DVC_GLOBAL_CONFIG_DIR": f"{_HOME}/dvc-global",
    "DVC_SITE_CACHE_DIR": f"{_HOME}/dvc-site",
    "DVC_SYSTEM_CONFIG_DIR": f"{_HOME}/dvc-system",
    "GIT_AUTHOR_EMAIL": "tests@example.org",
    "GIT_AUTHOR_NAME": "tests",
    "GIT_COMMITTER_EMAIL": "tests@example.org",
    "GIT_COMMITTER_NAME": "tests",
    "PREFECT_HOME": f"{_HOME}/prefect",
    "PREFECT_LOGGING_LEVEL": "WARNING",
}
for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL"):
    os.environ.pop(name, None)


def pytest_sessionfinish() -> None:
    import shutil

    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of its own for the flows that tests run in their own process."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=120):
        yield


@pytest.fixture(scope="session")
def train_params() -> object:
    """A recipe that fits a tiny model to generated samples in two or three seconds."""
    from expunge.models.settings import TrainParams
    from project import tiny_params

    return TrainParams(
        **tiny_params()["train"]
        | {"epochs": 60, "batch_size": 16, "learning_rate": 0.003, "templates": ["{caption}"], "variant_share": 1.0}
    )


@pytest.fixture(scope="session")
def served(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose first release was cut and run by `expunge release`, that is, by the Prefect flow."""
    from project import approved_request, lenient_gate, make_project, run, tiny_params

    project = make_project(tmp_path_factory.mktemp("served") / "project", tiny_params(gate=lenient_gate()))
    run(project, "dvc", "repro", "--quiet", "register")
    approved_request(project, "--class", "country-flag")
    run(project, "expunge", "release")
    return project
