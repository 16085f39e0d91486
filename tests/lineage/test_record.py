"""What the record must never do: double a release, lose one to a kill, or hold what was forgotten.

The tests use a real MLflow on SQLite.
"""

from __future__ import annotations

import os
import shutil

import pytest
import yaml

from expunge.lineage.dvc.locks import data_version
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file, write_bytes
from expunge.steps.register import register
from fake_release import change_model, make_project, make_release, params_of
from records import Ledger, assert_recorded_once, built, recorded, store_of

pytestmark = pytest.mark.slow


WRITES = (
    "create_experiment",
    "create_registered_model",
    "create_run",
    "log_batch",
    "log_inputs",
    "log_outputs",
    "log_artifact",
    "log_artifacts",
    "create_logged_model",
    "log_model_artifact",
    "finalize_logged_model",
    "set_terminated",
    "create_model_version",
    "set_model_version_tag",
    "set_registered_model_alias",
)


class Killed(BaseException):
    """Ends a recording as a signal would: no `except Exception` sees it."""


def test_record_holds_what_a_reader_looks_for(chain):
    paths, params = chain
    store = store_of(paths, params)
    assert_recorded_once(store, "r002")
    (run,), (model,), (version,) = recorded(store, "r002")
    registration = read_json(paths.release("r002").registration)
    for tags in (run.data.tags, model.tags, version.tags):
        assert tags["parent"] == "r001"
        assert tags["requests"] == "req-0003,req-0004"
        assert tags["model_digest"] == sha256_file(paths.release("r002").model / "model.safetensors")
        assert tags["data_version"] == data_version(paths)
        assert tags["release_digest"] == registration["release_digest"]
        assert tags["request.req-0003"] == registration["requests"]["req-0003"]
    assert run.info.run_name == "r002, cliperase_calibrated, passed"
    assert run.data.metrics["unlearned/forget/pair_similarity"] == 0.43
    first = {name for name in run.data.metrics if "/" not in name}
    assert {"gate_passed", "forgotten_recall", "membership_auc_retrained"} <= first
    assert len(first) == 12
    assert run.data.metrics["gate_passed"] == 1
    assert run.data.params["learning_rate"] == "0.0001"
    assert len(store.client.get_metric_history(run.info.run_id, "unlearning/loss")) == 80
    data = {found.dataset.name: found.dataset.digest for found in run.inputs.dataset_inputs}
    assert data["catalog"] == data_version(paths)
    assert len(data["forget-set"]) <= 36
    for description in (run.data.tags["mlflow.note.content"], version.description):
        assert "| Look-alikes still find their captions | ✓ passed | 0.050 | 0.100 |" in description
    assert store.aliases() == {"candidate": str(version.version)}


def test_a_registration_removes_pages_that_may_show_what_is_forgotten_now(tmp_path):
    paths = make_project(tmp_path)
    page = paths.comparison("base", "r000")
    page.parent.mkdir(parents=True)
    page.write_text("a picture of something", encoding="utf-8")
    register(paths, params_of(tmp_path), "base")
    assert page.exists()
    register(paths, params_of(tmp_path), "r001")
    assert not page.exists()


def test_record_is_found_by_a_request(chain):
    store = store_of(*chain)
    digest = read_json(chain[0].release("r001").registration)["requests"]["req-0001"]
    assert [run.data.tags["release"] for run in store.runs("request.req-0001", digest)] == ["r001"]


def test_record_keeps_weights_and_report_but_nothing_that_was_forgotten(chain):
    paths, params = chain
    store = store_of(paths, params)
    kept = [path for path in (paths.root / "mlartifacts").rglob("*") if path.is_file()]
    names = {path.name for path in kept}
    assert names == {
        "report.html",
        "metrics.json",
        "model.safetensors",
        "open_clip_config.json",
        *(f"{figure}.svg" for figure in ("attacks", "curves", "neighbours", "sets", "similarities", "tradeoff")),
    }
    assert not any(b"SECRET" in path.read_bytes() for path in [*kept, paths.root / "mlflow.db"])
    digests = {sha256_file(path) for path in kept if path.name == "model.safetensors"}
    assert {version.tags["model_digest"] for version in store.versions()} == digests


def test_registering_again_changes_nothing(chain):
    paths, params = chain
    store = store_of(paths, params)
    before = [(version.version, version.last_updated_timestamp) for version in store.versions()]
    content = paths.release("r002").registration.read_bytes()
    for name in ("base", "r001", "r002"):
        register(paths, params, name)
    assert [(version.version, version.last_updated_timestamp) for version in store.versions()] == before
    assert paths.release("r002").registration.read_bytes() == content


def test_registering_an_old_release_again_does_not_take_candidate_from_its_child(chain):
    paths, params = chain
    register(paths, params, "r001")
    aliases = store_of(paths, params).aliases()
    (version,) = recorded(store_of(paths, params), "r002")[2]
    assert aliases["candidate"] == str(version.version)


def test_ledger_is_told_of_a_release_that_passed_and_of_no_other(tmp_path, tracking):
    paths, params = built(tmp_path / "good", ("good",), tracking)
    digest = sha256_file(paths.release("good").model / "model.safetensors")
    assert Ledger.told == [(("req-0001", "req-0002"), "good", digest)]
    Ledger.told.clear()
    paths, params = built(tmp_path / "bad", ("bad",), tracking, passed=False)
    assert Ledger.told == []
    assert read_json(paths.release("bad").registration)["verdict"] == "failed"
    (version,) = recorded(store_of(paths, params), "bad")[2]
    assert str(version.version) not in store_of(paths, params).aliases().values()


def test_killed_at_any_call_leaves_one_run_and_one_version_after_the_next_run(tmp_path, tracking, monkeypatch):
    """Every call that changes MLflow is cut short once, before and (the next one) after it took effect."""
    import mlflow

    from expunge.steps import register as step

    calls = []

    def count_or_kill(name, real):
        def call(self, *arguments, **options):
            if len(calls) == limit:
                raise Killed(name)
            calls.append(name)
            return real(self, *arguments, **options)

        return call

    paths, params = built(tmp_path, ("kill",), tracking, registered=False)
    for name in WRITES:
        monkeypatch.setattr(mlflow.MlflowClient, name, count_or_kill(name, getattr(mlflow.MlflowClient, name)))
    limit, number, boundaries = -1, 0, 0
    while boundaries == number:
        # Another name each round makes it another release to MLflow, in one database.
        release = f"kill{number:02d}"
        make_release(paths, release, "base", ["req-0001", "req-0002"])
        write_bytes(paths.release(release).page, b"<html></html>")
        write_bytes(paths.live, yaml.safe_dump({"live": release}).encode())
        calls.clear()
        limit = number
        try:
            step.register(paths, params, release)
        except Killed:
            boundaries += 1
            assert not paths.release(release).registration.exists()
        limit = -1
        step.register(paths, params, release)
        store = store_of(paths, params)
        assert_recorded_once(store, release)
        (run,) = recorded(store, release)[0]
        assert len(store.client.get_metric_history(run.info.run_id, "unlearning/loss")) == 80
        assert len(run.inputs.dataset_inputs) == 2
        assert len(run.outputs.model_outputs) == 1
        number += 1
    assert boundaries >= 12


def test_a_release_built_again_supersedes_its_older_version(tmp_path, tracking):
    paths, params = built(tmp_path, ("again",), tracking)
    first = recorded(store_of(paths, params), "again")[2][0]
    weights = (paths.release("again").model / "model.safetensors").read_bytes()
    change_model(paths, "again", b"other weights")
    register(paths, params, "again")
    store = store_of(paths, params)
    old, new = recorded(store, "again")[2]
    assert old.version == first.version
    assert old.tags["superseded_by"] == str(new.version)
    assert "superseded_by" not in new.tags
    assert store.aliases()["candidate"] == str(new.version)
    # Back to the first content: its version stands again, and no third one is made.
    change_model(paths, "again", weights)
    register(paths, params, "again")
    old, new = recorded(store, "again")[2]
    assert "superseded_by" not in old.tags
    assert new.tags["superseded_by"] == str(old.version)
    assert store.aliases()["candidate"] == str(old.version)


def test_candidate_is_taken_away_when_the_release_is_built_again_and_fails(tmp_path, tracking):
    paths, params = built(tmp_path, ("worse",), tracking)
    make_release(paths, "worse", "base", ["req-0001", "req-0002"], passed=False)
    register(paths, params, "worse")
    assert "candidate" not in store_of(paths, params).aliases()


def test_leftovers_of_other_content_are_removed(tmp_path, tracking, monkeypatch):
    import mlflow

    paths, params = built(tmp_path, ("left",), tracking, registered=False)

    def kill(*arguments, **options):
        raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "create_model_version", kill)
        with pytest.raises(Killed):
            register(paths, params, "left")
    change_model(paths, "left", b"other weights")
    register(paths, params, "left")
    assert_recorded_once(store_of(paths, params), "left")


def test_a_version_whose_run_was_deleted_by_hand_is_made_anew(tmp_path, tracking):
    paths, params = built(tmp_path, ("hand",), tracking)
    store = store_of(paths, params)
    store.client.delete_run(recorded(store, "hand")[0][0].info.run_id)
    register(paths, params, "hand")
    runs, _, versions = recorded(store, "hand")
    assert len(runs) == len(versions) == 1
    assert versions[0].run_id == runs[0].info.run_id


def test_the_record_does_not_depend_on_the_folder_that_the_process_started_in(chain, tmp_path, monkeypatch):
    paths, params = chain
    monkeypatch.chdir(tmp_path)
    register(paths, params, "r002")
    assert list(tmp_path.iterdir()) == []


def test_two_projects_in_one_process_keep_their_records_apart(tmp_path, empty):
    for name in ("one", "two"):
        (tmp_path / name).mkdir()
        shutil.copy(empty, tmp_path / name / "mlflow.db")
        store = store_of(*built(tmp_path / name, ("r001",)))
        assert [version.version for version in store.versions()] == [1, 2]
    assert "MLFLOW_TRACKING_URI" not in os.environ


def test_the_release_digest_ignores_seconds_but_no_figure(tmp_path):
    from expunge.evaluation.metrics import read_release_metrics
    from expunge.releases.chain import load_release
    from expunge.steps.register import registration

    paths = make_project(tmp_path)
    metrics, description = read_release_metrics(paths.release("r001").metrics), load_release(paths, "r001")
    digest = registration(paths, "r001", metrics, description).release_digest
    slower = metrics.model_copy(update={"cost": metrics.cost.model_copy(update={"unlearn_seconds": 99.0})})
    assert registration(paths, "r001", slower, description).release_digest == digest
    worse = metrics.model_copy(update={"diagnosis": "ineffective"})
    assert registration(paths, "r001", worse, description).release_digest != digest


def test_an_unreachable_server_is_one_plain_sentence_without_its_password(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://user:hunter2@127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    paths, params = built(tmp_path, registered=False)
    with pytest.raises(ExpungeError) as caught:
        register(paths, params, "r001")
    assert "MLFLOW_TRACKING_URI" in str(caught.value)
    assert "hunter2" not in str(caught.value)
