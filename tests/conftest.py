"""Isolation: no test reads or writes the machine's DVC, Prefect or MLflow state, and nothing reports home."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from importlib import import_module
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
    # A flow without a server starts one of its own; on a busy machine that takes longer than the default of 20 s.
    "PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300",
}
# Rich and Typer read the last four: a dumb terminal with forced colours is 80 columns wide whatever a test asks for.
for name in ("MLFLOW_TRACKING_URI", "PREFECT_API_URL", "FORCE_COLOR", "PY_COLORS", "GITHUB_ACTIONS", "TTY_COMPATIBLE"):
    os.environ.pop(name, None)
os.environ["TERM"] = "xterm"
# The commands' console is as wide as COLUMNS says where it is made, so it is made here, before any test sets that.
os.environ.pop("COLUMNS", None)
import_module("expunge.commands.common")


def pytest_sessionfinish() -> None:
    import shutil

    from project import running

    running.close()
    shutil.rmtree(_HOME, ignore_errors=True)


@pytest.fixture(scope="session")
def prefect_server() -> Iterator[None]:
    """A Prefect server of its own for the flows that tests run in their own process."""
    from prefect.testing.utilities import prefect_test_harness

    with prefect_test_harness(server_startup_timeout=600):
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


@pytest.fixture(scope="session")
def released(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A project whose release r001 was built by the steps alone, without DVC, Prefect and MLflow; up to its metrics."""
    from expunge.corpus.catalog import Catalog
    from expunge.project.library import acknowledge
    from expunge.project.paths import BASE, Paths
    from expunge.releases.cut import create_release
    from expunge.requests.request import DeletionRequest, IdSelector
    from expunge.settings import load_params
    from expunge.steps.catalog import catalog
    from expunge.steps.embed import embed
    from expunge.steps.evaluate import evaluate
    from expunge.steps.gold import gold
    from expunge.steps.select import select_sets
    from expunge.steps.train import train
    from expunge.unlearning.release import unlearn_release
    from project import lenient_gate, tiny_params, write_params

    paths = Paths(tmp_path_factory.mktemp("released"))
    write_params(paths.root, tiny_params(gate=lenient_gate(), train={"epochs": 4}))
    params = load_params(paths.params)
    paths.live.parent.mkdir()
    acknowledge(paths)
    for step in (catalog, train, embed):
        step(paths, params, BASE)
    rows = Catalog(paths.catalog).metadata.to_pylist()
    flags = {row["sample_id"] for row in rows if row["split"] == "train" and row["class"] == "country-flag"}
    request = DeletionRequest(
        request_id="req-0001",
        selectors=(IdSelector(ids=tuple(sorted(flags))),),
        basis="quality",
        received_at="2026-11-01T00:00:00Z",
        due="2026-12-01",
    )
    create_release(paths, [request], "cliperase_calibrated", gold=True, name="r001")
    for step in (select_sets, unlearn_release, gold, embed, evaluate):
        step(paths, params, "r001")
    return paths.root
