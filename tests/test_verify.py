"""Verification fails on one changed byte anywhere, and says where; a replay gives the same model."""

from __future__ import annotations

import json
import shutil
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from certified import LEDGER, certified_project, certify, purged
from expunge.project.errors import ExpungeError
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.proof.signing import create_keys, read_signed, trusted_key
from expunge.proof.verify import record_verified, verify
from expunge.requests.ledger import Ledger
from expunge.settings import Params
from fake_release import SHARDS, change_model
from project import run

pytestmark = pytest.mark.slow

Project = tuple[Paths, Params]

SUBJECTS = (
    *(f"data/embeddings/r001/{name}" for name in SHARDS),
    "data/index/r001/image.faiss",
    "data/index/r001/text.faiss",
    "data/sets/r001/forget.parquet",
    "data/sets/r001/retain.parquet",
    "models/r001/model.safetensors",
    "models/r001/open_clip_config.json",
    "models/r001/unlearning.csv",
    "releases/r001/release.yaml",
    "reports/r001/figures/curves.svg",
    "reports/r001/metrics.json",
    "reports/r001/registration.json",
    "reports/r001/report.html",
    "reports/r001/nearest.parquet",
    "reports/r001/roc.parquet",
    "reports/r001/similarities.parquet",
    "reports/r001/unlearning.json",
)
SOURCES = (
    "data/catalog/catalog.json",
    *(f"data/catalog/{name}" for name in SHARDS),
    "models/base/model.safetensors",
    "models/gold/r001/model.safetensors",
    "models/gold/r001/training.csv",
)
CERTIFICATES = (
    "reports/r001/certificate.json",
    "reports/r001/certificate.md",
    "reports/r001/certificates/req-0001.json",
    "reports/r001/certificates/req-0001.md",
    "reports/r001/certificates/req-0002.json",
    "reports/r001/certificates/req-0002.md",
)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return certified_project(tmp_path_factory.mktemp("certified"))


@contextmanager
def changed(path: Path, content: bytes) -> Iterator[None]:
    before = path.read_bytes()
    path.write_bytes(content)
    try:
        yield
    finally:
        path.write_bytes(before)


def flipped(path: Path) -> bytes:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    return bytes(content)


def places(project: Project, name: str = "r001") -> set[str]:
    return {problem.where for problem in verify(*project, name).problems}


def test_what_was_not_touched_is_as_certified(project: Project) -> None:
    for name in ("base", "r001"):
        assert verify(*project, name).problems == []


def test_the_certificate_covers_exactly_the_files_that_are_flipped_below(project: Project) -> None:
    paths, params = project
    said = read_signed(paths.release("r001").certificate, trusted_key(paths, params.certificate))
    assert sorted(subject["name"] for subject in said["subject"]) == sorted(SUBJECTS)
    assert sorted(source["name"] for source in said["predicate"]["made_from"]) == sorted(SOURCES)


@pytest.mark.parametrize("path", [*SUBJECTS, *SOURCES, *CERTIFICATES])
def test_one_flipped_byte_is_found_where_it_is(project: Project, path: str) -> None:
    file = project[0].root / path
    with changed(file, flipped(file)):
        assert path in places(project)


@pytest.mark.parametrize("path", [*SUBJECTS, *CERTIFICATES[1:]])
def test_what_is_certified_must_be_there(project: Project, path: str) -> None:
    file = project[0].root / path
    aside = file.rename(file.with_name("aside"))
    try:
        assert path in places(project)
    finally:
        aside.rename(file)


def test_a_file_that_was_added_is_found(project: Project) -> None:
    added = project[0].release("r001").embeddings / "part-00009.parquet"
    added.write_bytes(b"more")
    try:
        assert "data/embeddings/r001/part-00009.parquet" in places(project)
    finally:
        added.unlink()


def test_a_purged_source_is_missing_and_no_lie(project: Project, tmp_path: Path) -> None:
    root = shutil.copytree(project[0].root, tmp_path / "copy")
    shutil.rmtree(root / "models" / "base")
    outcome = verify(Paths(root), project[1], "r001")
    assert outcome.problems == []
    missing = {check.where for check in outcome.checks if check.state == "missing"}
    assert "models/base/model.safetensors" in missing


@pytest.mark.parametrize("column", ["request_id", "kind", "at", "by", "payload", "previous", "hash"])
@pytest.mark.parametrize("seq", [1, 6])
def test_one_changed_cell_of_the_ledger_is_found(project: Project, tmp_path: Path, column: str, seq: int) -> None:
    root = shutil.copytree(project[0].root, tmp_path / "copy")
    with sqlite3.connect(root / "data" / "ledger.db") as ledger:
        (value,) = ledger.execute(f'SELECT "{column}" FROM events WHERE seq = ?', (seq,)).fetchone()
        last = chr(ord(value[-2]) ^ 1)
        changed_value = value[:-2] + last + value[-1]
        ledger.execute(f'UPDATE events SET "{column}" = ? WHERE seq = ?', (changed_value, seq))
    (problem,) = verify(Paths(root), project[1], "r001").problems
    assert problem.what == "chain of the ledger"
    assert f"event {seq}" in str(problem.found)


def test_a_ledger_whose_end_was_cut_off_is_found(project: Project, tmp_path: Path) -> None:
    root = shutil.copytree(project[0].root, tmp_path / "copy")
    with sqlite3.connect(root / "data" / "ledger.db") as ledger:
        ledger.execute("DELETE FROM events WHERE seq = 6")
    (problem,) = verify(Paths(root), project[1], "r001").problems
    assert "should end with event 6" in str(problem.found)


def test_a_ledger_that_is_gone_is_found_and_one_that_never_was_here_is_not_created(
    project: Project, tmp_path: Path
) -> None:
    root = shutil.copytree(project[0].root, tmp_path / "copy")
    (root / "data" / "ledger.db").unlink()
    (problem,) = verify(Paths(root), project[1], "r001").problems
    assert "is gone" in str(problem.found)
    # What somebody has who was given the files and the public key.
    (root / ".expunge" / "ledger-head.json").unlink()
    assert verify(Paths(root), project[1], "r001").problems == []
    assert not (root / "data" / "ledger.db").exists()


def test_a_certificate_of_older_content_does_not_fit_the_new_one(project: Project, tmp_path: Path) -> None:
    root = shutil.copytree(project[0].root, tmp_path / "copy")
    change_model(Paths(root), "r001", b"weights that still remember")
    assert "models/r001/model.safetensors" in places((Paths(root), project[1]))


def test_a_certificate_of_another_release_proves_nothing(project: Project, tmp_path: Path) -> None:
    root = shutil.copytree(project[0].root, tmp_path / "copy")
    for suffix in (".json", ".md"):
        name = f"certificate{suffix}"
        shutil.copy(root / "reports" / "base" / name, root / "reports" / "r001" / name)
    assert "reports/r001/certificate.json" in places((Paths(root), project[1]))


def test_another_key_is_not_trusted(project: Project, tmp_path: Path) -> None:
    create_keys(tmp_path / "other.pem", tmp_path / "other.pub")
    (problem,) = verify(*project, "r001", tmp_path / "other.pub").problems
    assert "was signed by" in str(problem.found)


def test_a_purge_that_found_something_fails_and_a_later_clean_one_waits_to_be_certified(
    project: Project, tmp_path: Path
) -> None:
    root = shutil.copytree(project[0].root, tmp_path / "copy")
    paths, params = Paths(root), project[1]
    purge = paths.release("r001").purge
    write_json(purge, purged())
    outcome = verify(paths, params, "r001")
    assert outcome.problems == []
    assert [c.where for c in outcome.checks if c.what == "proof of the purge"] == ["reports/r001/purge.json"]
    certify(paths, params, "r001")
    assert places((paths, params)) == set()
    write_json(purge, purged(files=8))
    assert places((paths, params)) == {"reports/r001/purge.json"}
    write_json(purge, purged(findings=1))
    certify(paths, params, "r001")
    assert places((paths, params)) == {"reports/r001/purge.json"}


def test_a_verification_is_recorded_for_what_was_purged(project: Project, tmp_path: Path) -> None:
    paths, params = Paths(shutil.copytree(project[0].root, tmp_path / "copy")), project[1]
    with pytest.raises(ExpungeError, match="expunge purge r001"):
        record_verified(paths, params, "r001", "Ada")
    ledger = Ledger.open(LEDGER, paths.root)
    ledger.mark_purged(["req-0001", "req-0002"], "r001", "tests", "0" * 64)
    certify(paths, params, "r001")
    assert record_verified(paths, params, "r001", "Ada") == ["req-0001", "req-0002"]
    assert {record.state for record in ledger.records()} == {"verified"}
    before = paths.release("r001").certificate.read_bytes()
    certify(paths, params, "r001")
    assert paths.release("r001").certificate.read_bytes() == before
    assert verify(paths, params, "r001").problems == []


@pytest.mark.parametrize("name", ["r9", "../r001", "", "gold"])
def test_a_release_without_certificate_is_one_sentence(project: Project, name: str) -> None:
    with pytest.raises(ExpungeError) as caught:
        verify(*project, name)
    assert len(str(caught.value).splitlines()) == 1


def test_the_command_prints_where_and_ends_with_status_1(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    import expunge.commands.verify as commands

    paths, params = project
    monkeypatch.chdir(paths.root)
    monkeypatch.setattr(commands, "load_params", lambda path: params)
    app = typer.Typer()
    app.command()(commands.verify)
    good = CliRunner().invoke(app, ["r001"])
    assert good.exit_code == 0, good.output
    assert "is as certified" in good.output
    assert json.loads(CliRunner().invoke(app, ["r001", "--json"]).output)["verified"] is True
    file = paths.root / SUBJECTS[0]
    with changed(file, flipped(file)):
        bad = CliRunner().invoke(app, ["r001"])
    assert bad.exit_code == 1
    assert f"✗ {SUBJECTS[0]}: file against certificate: recorded" in bad.output


# --- on a release that was really made ---------------------------------------------------------------------------


def test_a_real_release_is_as_certified_and_its_replay_gives_the_same_bits(served: Path) -> None:
    out = json.loads(run(served, "expunge", "verify", "r001", "--replay", "--json").stdout)
    assert out["verified"] is True
    assert {check["state"] for check in out["checks"]} == {"ok"}
    assert {"model of the replay", "settings of the replay", "chain of the ledger"} <= {
        c["what"] for c in out["checks"]
    }
    run(served, "expunge", "verify", "base")


def test_a_replay_finds_a_model_that_the_recipe_does_not_give(served: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(served, root, symlinks=True, ignore=shutil.ignore_patterns("cache", "mlartifacts"))
    params = root / "params.yaml"
    params.write_text(params.read_text().replace("seed: 0", "seed: 1"))
    result = run(root, "expunge", "verify", "r001", "--replay", check=False)
    assert result.returncode == 1
    assert "✗ params.yaml: settings of the replay: seed not as certified" in result.stdout
    assert "✗ models/r001/model.safetensors: model of the replay" in result.stdout


def test_a_replay_finds_figures_that_were_edited_and_signed_again(served: Path, tmp_path: Path) -> None:
    root = tmp_path / "project"
    shutil.copytree(served, root, symlinks=True, ignore=shutil.ignore_patterns("cache", "mlartifacts"))
    path = root / "reports" / "r001" / "metrics.json"
    metrics = json.loads(path.read_text())
    metrics["models"]["unlearned"]["retain"]["image_to_text_r1"] = 0.999
    path.write_text(json.dumps(metrics, indent=2, sort_keys=True, ensure_ascii=False) + "\n")
    run(root, sys.executable, "-m", "expunge.steps.register", "r001")
    again = run(root, "expunge", "verify", "r001", "--replay", check=False)
    assert again.returncode == 1
    assert "✗ reports/r001/metrics.json: figures and verdict of the replay" in again.stdout
    assert "model of the replay" not in again.stdout


def test_an_index_or_embeddings_of_another_model_are_refused(served: Path, tmp_path: Path) -> None:
    from expunge.embeddings.search import search_images

    for name in ("data", "models", "releases"):
        shutil.copytree(served / name, tmp_path / name)
    paths = Paths(tmp_path)
    ours, theirs = paths.release("r001"), paths.release("base")
    assert len(search_images(paths, "r001", 1, text="flag")) == 1
    for here, there in ((ours.index, theirs.index), (ours.embeddings, theirs.embeddings)):
        aside = here.rename(tmp_path / "aside")
        shutil.copytree(there, here)
        with pytest.raises(ExpungeError, match="another model"):
            search_images(paths, "r001", 1, text="flag")
        shutil.rmtree(here)
        aside.rename(here)
    shutil.copy(theirs.index / "image.faiss", ours.index / "image.faiss")
    with pytest.raises(ExpungeError, match="not the index that was built here"):
        search_images(paths, "r001", 1, text="flag")
