"""A project that travels: copied, or cloned with its data pulled, it works and leaves the original alone."""

from __future__ import annotations

import hashlib
import json
import shutil
import sys
from pathlib import Path

import pytest

from expunge.lineage.mlflow.store import Store
from expunge.lineage.settings import MlflowParams
from expunge.project.paths import Paths
from project import approved_request, run

pytestmark = pytest.mark.slow


def content(folder: Path) -> dict[str, str]:
    files = (path for path in folder.rglob("*") if path.is_file() and "__pycache__" not in path.parts)
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_the_record_of_a_copied_project_names_the_copys_own_artifacts(tmp_path: Path) -> None:
    first, second = Paths(tmp_path / "100%_original"), Paths(tmp_path / "copy")
    params = MlflowParams()
    store = Store.open(first, params)
    run_id = store.client.create_run(store.experiment_id).info.run_id
    (tmp_path / "note.txt").write_text("one")
    store.client.log_artifact(run_id, str(tmp_path / "note.txt"))
    before = content(first.root)
    shutil.copytree(first.root, second.root)
    # Another process, as MLflow remembers by run, for the whole process, where artifacts lie.
    kept = run(second.root, sys.executable, "-c", LATER, run_id).stdout.strip()
    assert content(first.root) == before
    assert kept == (second.root.resolve() / "mlartifacts" / run_id / "artifacts").as_uri()
    assert {"note.txt", "later/note.txt"} <= {
        path.relative_to(second.root / "mlartifacts" / run_id / "artifacts").as_posix()
        for path in second.root.rglob("note.txt")
    }


LATER = """
import sys, pathlib
from expunge.lineage.mlflow.store import existing_store
from expunge.lineage.settings import MlflowParams
from expunge.project.paths import Paths
client, run = existing_store(Paths(pathlib.Path.cwd()), MlflowParams()).client, sys.argv[1]
client.log_artifact(run, "../note.txt", "later")
print(client.get_run(run).info.artifact_uri)
"""


def test_a_record_in_a_store_of_its_own_is_left_alone(tmp_path: Path) -> None:
    paths, params = Paths(tmp_path / "project"), MlflowParams(tracking_uri=f"sqlite:///{tmp_path}/shared.db")
    paths.root.mkdir()
    store = Store.open(paths, params)
    before = store.client.get_experiment(store.experiment_id).artifact_location
    other = Store.open(Paths(tmp_path / "other"), params)
    assert other.client.get_experiment(store.experiment_id).artifact_location == before


@pytest.mark.timeout(1800)
def test_a_copied_project_releases_and_traces_without_a_byte_of_change_in_the_original(
    served: Path, tmp_path: Path
) -> None:
    before = content(served)
    copy = tmp_path / "copy"
    shutil.copytree(served, copy, symlinks=True)
    assert "r001" in run(copy, "expunge", "trace", "r001").stdout
    assert "is as certified" in run(copy, "expunge", "verify", "r001").stdout
    approved_request(copy, "--class", "family")
    run(copy, "expunge", "release")
    assert "is as certified" in run(copy, "expunge", "verify", "r002").stdout
    assert content(served) == before


@pytest.mark.timeout(1800)
def test_a_clone_with_its_data_pulled_reports_traces_and_verifies_and_after_a_restore_it_releases(
    served: Path, tmp_path: Path
) -> None:
    origin, clone, store = tmp_path / "origin", tmp_path / "clone", tmp_path / "store"
    shutil.copytree(served, origin, symlinks=True)
    store.mkdir()
    run(origin, "dvc", "remote", "add", "--default", "store", str(store))
    run(origin, "git", "add", "--all")
    run(origin, "git", "commit", "--quiet", "--message", "Release r001")
    run(origin, "dvc", "push", "--quiet")
    run(tmp_path, "git", "clone", "--quiet", str(origin), str(clone))
    run(clone, "dvc", "pull", "--quiet")
    assert "up to date" in run(clone, "dvc", "status").stdout
    assert "image_to_text_r1" in run(clone, "dvc", "metrics", "show").stdout
    run(clone, "dvc", "metrics", "diff", "HEAD")
    assert "Gate passed" in run(clone, "expunge", "report", "r001").stdout
    assert "digests are as recorded" in run(clone, "expunge", "trace", "r001", check=False).stdout
    assert "is as certified" in run(clone, "expunge", "verify", "r001").stdout
    assert "neither git nor DVC carries it" in run(clone, "expunge", "status").stdout  # which makes a key of its own
    refused = run(clone, "expunge", "release", check=False)
    assert refused.returncode == 1
    assert "`expunge backup FILE` writes it" in refused.stderr
    secret = {"EXPUNGE_BACKUP_PASSPHRASE": "a long passphrase of tests"}
    run(origin, "expunge", "backup", str(tmp_path / "expunge.backup"), **secret)
    assert "MLflow: It has no record of base, r001" in run(clone, "expunge", "repair", check=False).stdout
    told = run(clone, "expunge", "restore", str(tmp_path / "expunge.backup"), "--yes", "--by", "tests", **secret).stdout
    assert "r001 is recorded in MLflow again" in told
    traced, original = (
        json.loads(run(folder, "expunge", "trace", "r001", "--json").stdout)["mlflow"]["versions"]
        for folder in (clone, origin)
    )
    for key in ("aliases", "verdict", "model_digest", "release_digest", "git_commit"):
        assert traced[0][key] == original[-1][key], key
    assert "is as certified" in run(clone, "expunge", "verify", "r001").stdout  # which reads the new record as well
    assert "Nothing stops this project" in run(clone, "expunge", "repair").stdout
    approved_request(clone, "--class", "family")
    run(clone, "expunge", "release")
    assert "is as certified" in run(clone, "expunge", "verify", "r002").stdout
