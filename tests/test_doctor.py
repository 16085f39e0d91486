"""`expunge doctor`: each thing that can be wrong is broken once, and is named with what to do."""

from __future__ import annotations

import json
import os
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner

from expunge.cli import app
from expunge.models import _torchvision
from expunge.project.paths import Paths
from expunge.repair import machine
from expunge.repair.checkup import QUESTIONS, checkup
from expunge.repair.state import Site
from expunge.repair.symptoms import Symptom
from expunge.settings import load_params
from project import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("doctor") / "project"
    CliRunner().invoke(app, ["init", str(folder)], catch_exceptions=False)
    return folder


@pytest.fixture
def project(made: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(made, tmp_path / "project")
    monkeypatch.chdir(tmp_path / "project")
    return tmp_path / "project"


def seen(project: Path, question: str | None = None) -> dict[str, Symptom]:
    """Subject → answer, to all questions or to the one of a name."""
    paths = Paths(project)
    chosen = [asked for asked in QUESTIONS if question in (None, asked.__name__)]
    return {symptom.subject: symptom for symptom in checkup(Site(paths, load_params(paths.params)), chosen)}


def set_in(project: Path, block: str, **values: Any) -> None:
    path = project / "params.yaml"
    content = yaml.safe_load(path.read_text())
    content[block] |= values
    path.write_text(yaml.safe_dump(content, sort_keys=False))


def refused_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def test_nothing_is_in_the_way_of_a_new_project(project: Path) -> None:
    found = seen(project)
    assert not [symptom for symptom in found.values() if symptom.state == "blocks"]
    expected = {"GPU", "torchvision", "FAISS", "model", "disk", "pipeline", "keys", "ledger", "MLflow", "Prefect"}
    assert expected <= found.keys()
    assert found["FAISS"].found.startswith("faiss-")
    assert found["DVC remote"].state == "note"


def with_prefect_profile(project: Path) -> None:
    home = Path(os.environ["PREFECT_HOME"])
    home.mkdir(parents=True, exist_ok=True)
    (home / "profiles.toml").write_text(
        f'active = "old"\n[profiles.old]\nPREFECT_API_URL = "http://127.0.0.1:{refused_port()}/api"\n'
    )


BREAKS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "no GPU": (lambda p: set_in(p, "compute", device="cuda"), "GPU", "torch finds none"),
    "an unknown model": (lambda p: described(p, name="ViT-B-23"), "model", "open_clip lists no ViT-B-23"),
    "weights that are gone": (
        lambda p: described(p, name="ViT-B-32", pretrained="/nowhere/epoch_32.pt"),
        "model",
        "there is no /nowhere/epoch_32.pt",
    ),
    "a folder that is gone": (lambda p: described(p, name="local-dir:/nowhere"), "model", "there is no /nowhere"),
    "an upgrade": (lambda p: (p / ".expunge-version").write_text("0.0.1\n"), "pipeline", "expunge 0.0.1"),
    "no DVC": (lambda p: shutil.rmtree(p / ".dvc"), "pipeline", "not a DVC repository"),
    "no keys": (lambda p: set_in(p, "certificate", mode="production"), "keys", ""),
    "a ledger that is gone": (
        lambda p: set_in(p, "ledger", url=f"postgresql://user:secret@127.0.0.1:{refused_port()}/db"),
        "ledger",
        "does not answer",
    ),
    "an MLflow that is gone": (
        lambda p: set_in(p, "mlflow", tracking_uri=f"http://me:secret@127.0.0.1:{refused_port()}"),
        "MLflow",
        "does not answer",
    ),
    "a stale Prefect profile": (with_prefect_profile, "Prefect", "Prefect's profile names http://127.0.0.1:"),
    "a remote that is gone": (
        lambda p: run(p, "dvc", "remote", "add", "--default", "store", "/nowhere/store"),
        "DVC remote store",
        "/nowhere/store is not there",
    ),
}


QUESTION = {
    "GPU": "gpu",
    "FAISS": "faiss",
    "Prefect": "prefect",
    "MLflow": "mlflow",
    "model": "model",
    "pipeline": "pipeline",
    "keys": "keys",
    "ledger": "ledger",
}
"""Subject → the question that answers."""


def described(project: Path, **model: str) -> None:
    path = project / "params.yaml"
    content = yaml.safe_load(path.read_text())
    content["model"] = model
    path.write_text(yaml.safe_dump(content, sort_keys=False))


@pytest.mark.parametrize("broken", BREAKS)
def test_what_is_broken_is_named_and_stops(
    broken: str, project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_HOME", str(tmp_path / "prefect"))
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    break_it, subject, words = BREAKS[broken]
    break_it(project)
    symptom = seen(project, QUESTION.get(subject, "remotes"))[subject]
    assert (symptom.state, bool(symptom.cure)) == ("blocks", True)
    assert words in symptom.found
    assert "secret" not in symptom.found


def test_an_address_in_the_environment_that_does_not_answer_stops(
    project: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PREFECT_API_URL", f"http://127.0.0.1:{refused_port()}/api")
    assert seen(project, "prefect")["Prefect"].state == "blocks"


def test_ports_that_are_taken_and_disks_that_are_full_are_seen(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        monkeypatch.setattr(machine, "PORTS", {port: "a server"})
        assert seen(project, "ports")[f"port {port}"].state == "note"
    monkeypatch.setattr(machine, "LEAST_DISK", 1 << 60)
    assert seen(project, "disk")["disk"].state == "blocks"


@pytest.mark.parametrize(
    ("there", "state"), [((), "blocks"), (("faiss-cpu",), "ok"), (("faiss-cpu", "faiss-gpu"), "blocks")]
)
def test_one_faiss_is_wanted(
    project: Path, monkeypatch: pytest.MonkeyPatch, there: tuple[str, ...], state: str
) -> None:
    monkeypatch.setattr(machine, "_installed", there.__contains__)
    assert seen(project, "faiss")["FAISS"].state == state


def test_a_torchvision_of_another_build_is_told(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for mended, state in ((True, "note"), (False, "ok")):
        monkeypatch.setattr(_torchvision, "mended", lambda mended=mended: mended)
        assert seen(project, "torchvision")["torchvision"].state == state

    def broken() -> None:
        raise RuntimeError("undefined symbol")

    monkeypatch.setattr(_torchvision, "ensure", broken)
    assert seen(project, "torchvision")["torchvision"].state == "blocks"


def test_a_missing_transformers_stops_a_model_that_needs_it(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    described(project, name="ViT-B-16-SigLIP")
    assert seen(project, "model")["model"].state == "ok"
    assert "the catalog keeps them at 64 pixels, and the model takes 224" in seen(project, "model")["pictures"].found
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    assert "expunge[text]" in seen(project, "model")["model"].cure


def test_a_private_key_that_others_may_read_is_told(project: Path) -> None:
    run(project, "expunge", "certificate", "new-key")
    assert seen(project, "keys")["keys"].state == "ok"
    (project / ".expunge" / "keys" / "certificate.pem").chmod(0o644)
    assert "chmod 600" in seen(project, "keys")["keys"].found


def test_the_command_prints_a_table_or_json_and_ends_with_one_where_something_blocks(project: Path) -> None:
    fine = CliRunner().invoke(app, ["doctor", "--json"], catch_exceptions=False)
    assert fine.exit_code == 0
    assert {"subject", "state", "found", "cure"} == json.loads(fine.output)[0].keys()
    described(project, name="local-dir:/nowhere")
    blocked = CliRunner(env={"COLUMNS": "240"}).invoke(app, ["doctor"], catch_exceptions=False)
    assert blocked.exit_code == 1
    assert "there is no /nowhere" in " ".join(blocked.output.split())
