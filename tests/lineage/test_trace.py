"""The trace: the same from every end, and any file that was changed is a mismatch."""

from __future__ import annotations

import json
import shutil

import pytest
from typer.testing import CliRunner

from expunge.lineage.dvc.locks import data_version, read_locks
from expunge.lineage.trace import trace
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, write_bytes, write_json
from fake_release import SHARDS
from records import built, recorded, store_of

pytestmark = pytest.mark.slow


def test_trace_is_the_same_from_every_end(chain):
    paths, params = chain
    registration = read_json(paths.release("r002").registration)
    (run,), _, (version,) = recorded(store_of(paths, params), "r002")
    ends = [
        "r002",
        "req-0003",
        "req-0004",
        registration["model_digest"],
        registration["model_digest"][:8],
        f"sha256:{registration['model_digest']}",
        registration["release_digest"],
        run.info.run_id,
        f"clip/{version.version}",
        f"v{version.version}",
        str(version.version),
        "clip@candidate",
    ]
    answers = {trace(paths, params, end).model_dump_json() for end in ends}
    assert len(answers) == 1


def test_trace_joins_requests_parents_data_and_versions(chain):
    paths, params = chain
    found = trace(paths, params, "req-0001")
    assert found.release == "r001"
    assert found.children == ("r002",)
    assert [parent.release for parent in trace(paths, params, "r002").ancestors] == ["r001", "base"]
    assert found.data.version == data_version(paths)
    assert found.mlflow.versions[0].verdict == "passed"
    assert found.intact
    assert {check.state for check in found.checks} == {"ok"}
    assert {check.state for check in trace(paths, params, "base").checks} == {"ok"}


def test_trace_says_where_there_is_no_record_yet(tmp_path):
    paths, params = built(tmp_path, registered=False)
    found = trace(paths, params, "r001")
    assert found.mlflow.recorded is False
    assert found.verdict == "not registered"
    assert found.intact
    assert not (tmp_path / "mlflow.db").exists()
    with pytest.raises(ExpungeError, match="nothing is recorded in MLflow yet"):
        trace(paths, params, "clip/1")


@pytest.mark.parametrize(
    ("path", "what"),
    [
        ("models/r001/model.safetensors", "file against registration"),
        ("models/base/model.safetensors", "model that r001 was made from"),
        (f"data/catalog/{SHARDS[1]}", "catalog shard"),
        ("data/index/r001/image.faiss", "file against registration"),
        ("data/sets/r001/forget.parquet", "file against registration"),
        (f"data/embeddings/r001/{SHARDS[0]}", "model of the embeddings"),
    ],
)
def test_a_changed_file_is_a_mismatch(tmp_path, chain, path, what):
    root = tmp_path / "copy"
    shutil.copytree(chain[0].root, root, ignore=shutil.ignore_patterns("mlartifacts", ".expunge"))
    paths, params = type(chain[0])(root), chain[1]
    write_bytes(root / path, b"tampered")
    found = trace(paths, params, "r001")
    assert not found.intact
    assert (what, path) in {(check.what, check.where) for check in found.checks if check.state == "mismatch"}


def test_a_changed_figure_request_or_lock_is_a_mismatch(tmp_path, chain):
    root = tmp_path / "copy"
    shutil.copytree(chain[0].root, root, ignore=shutil.ignore_patterns("mlartifacts", ".expunge"))
    paths, params = type(chain[0])(root), chain[1]
    where = paths.release("r001")
    metrics = read_json(where.metrics)
    metrics["models"]["unlearned"]["forget"]["image_to_text_r1"] = 0.9
    write_json(where.metrics, metrics)
    description = where.description.read_text().replace("copyright", "safety")
    write_bytes(where.description, description.encode())
    lock = (where.folder / "dvc.lock").read_text()
    dep = read_locks(paths).outs["data/sets/r001"].md5
    write_bytes(where.folder / "dvc.lock", lock.replace(dep, f"{0:032x}.dir", 1).encode())
    found = {check.what for check in trace(paths, params, "r001").checks if check.state == "mismatch"}
    assert found == {"figures", "description", "request req-0002", "data/sets/r001 as read by unlearn"}


def test_a_purged_parent_is_missing_and_no_mismatch(tmp_path, chain):
    root = tmp_path / "copy"
    shutil.copytree(chain[0].root, root, ignore=shutil.ignore_patterns(".expunge"))
    shutil.rmtree(root / "models" / "base")
    found = trace(type(chain[0])(root), chain[1], "r001")
    assert found.intact
    assert next(check.where for check in found.checks if check.state == "missing").startswith("models/base")


@pytest.mark.parametrize("thing", ["", "r01", "req-9999", "clip/99", "deadbeef", "../../etc/passwd", "clip@x", "'; --"])
def test_an_unknown_thing_is_answered_with_what_is_accepted(chain, thing):
    with pytest.raises(ExpungeError) as caught:
        trace(*chain, thing)
    assert len(str(caught.value).splitlines()) == 1


def test_a_request_that_waits_is_told_apart_from_an_unknown_one(chain):
    with pytest.raises(ExpungeError, match="req-0042 is approved, and no release serves it yet"):
        trace(*chain, "req-0042")


def test_a_misspelt_release_gets_a_suggestion(chain):
    with pytest.raises(ExpungeError, match="Did you mean r001"):
        trace(*chain, "r01")


def test_command_prints_the_chain_and_ends_with_status_1_on_a_mismatch(tmp_path, chain, monkeypatch):
    import expunge.commands.trace as command

    root = tmp_path / "copy"
    shutil.copytree(chain[0].root, root, ignore=shutil.ignore_patterns(".expunge"))
    monkeypatch.chdir(root)
    monkeypatch.setattr(command, "load_params", lambda path: chain[1])
    app = typer_app(command.trace)
    good = CliRunner().invoke(app, ["req-0001"])
    assert good.exit_code == 0, good.output
    assert "digests are as recorded" in good.output
    assert json.loads(CliRunner().invoke(app, ["r001", "--json"]).output)["release"] == "r001"
    write_bytes(root / "models" / "r001" / "model.safetensors", b"tampered")
    bad = CliRunner().invoke(app, ["r001"])
    assert bad.exit_code == 1
    assert "mismatch" in bad.output


def typer_app(function):
    import typer

    app = typer.Typer()
    app.command()(function)
    return app
