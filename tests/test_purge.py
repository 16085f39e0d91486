"""A purge of a real project: DVC with remotes in a folder and in a bucket, MLflow, kills at every step, and a search
that finds things before."""

from __future__ import annotations

import base64
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import fsspec
import pytest
import yaml
from typer.testing import CliRunner

import fake_release
from buckets import bucket
from expunge.cli import app
from expunge.corpus.catalog import Catalog
from expunge.corpus.settings import CatalogParams
from expunge.lineage.dvc.locks import read_locks
from expunge.lineage.mlflow.store import existing_store
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.purge import places, run
from expunge.purge.plan import PurgePlan, plan
from expunge.purge.scan import Scan, scan
from expunge.purge.traces import Trace, coverage
from expunge.releases.stages import bring_up_to_date
from expunge.requests.ledger import Ledger
from expunge.selection.sets import read_forget
from expunge.settings import load_params
from project import run as command
from test_pipeline import digests

pytestmark = pytest.mark.slow

STAYS = ("models/r001/", "models/gold/", "data/sets/r001/", "data/embeddings/r001/", "data/index/r001/")
KILLS = (
    "catalog",
    "retained",
    "expunge.lineage.dvc.rebase._retire_root_stages",
    "pipeline",
    "workspace",
    "mlflow",
    "prefect",
    "expunge.lineage.dvc.objects.forget_listings",
    "stores",
)
"""A step is killed when its work is done and not yet noted; a function, instead of being called."""

KILLED = """
import importlib, os, signal, sys
from expunge.settings import load_params
from expunge.project.paths import Paths
from expunge.purge import run
from expunge.purge.journal import Journal

def kill(*_):
    os.kill(os.getpid(), signal.SIGKILL)

place = sys.argv[1]
if place in run.STEPS:
    step = run.STEPS[place]
    run.STEPS[place] = lambda purge: kill(step(purge))
else:
    module, _, name = place.rpartition(".")
    setattr(importlib.import_module(module), name, kill)
paths = Paths()
run.finish(paths, load_params(paths.params), Journal.open(paths, "r001"))
"""


@dataclass
class Purged:
    """What a purge that was killed at every step did, and what was seen on its way."""

    root: Path
    remote: Path
    bucket: Path
    planned: PurgePlan
    traces: list[Trace]
    forgotten: set[str]
    retained: str
    digests: dict[str, str]
    before: Scan
    refused: Exception | None
    stray: subprocess.CompletedProcess[str]
    proof: dict


@pytest.fixture(scope="module")
def address() -> Iterator[str]:
    with bucket() as found:
        yield f"{found}/store"


@pytest.fixture(scope="module")
def purged(served: Path, tmp_path_factory: pytest.TempPathFactory, address: str) -> Purged:
    """r001 purged in a copy of `served` that was pushed to two remotes."""
    root, remote = tmp_path_factory.mktemp("purged") / "project", tmp_path_factory.mktemp("remote")
    _copy(served, root)
    command(root, "dvc", "remote", "add", "--quiet", "--default", "store", str(remote))
    command(root, "dvc", "push", "--quiet", "--run-cache")
    command(root, "dvc", "remote", "add", "--quiet", "bucket", address)
    command(root, "dvc", "push", "--quiet", "--run-cache", "--remote", "bucket")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(root)
        paths = Paths()
        refused = CliRunner().invoke(app, ["purge", "r001"]).exception
        planned = plan(paths, load_params(paths.params), "r001")
        forgotten = {row.sample_id for row in read_forget(paths.release("r001").forget)}
        whole = digests(root)
        journal = run.begin(paths, planned)
        traces = journal.traces()
    before = scan(
        [root, remote, _fetched(address, remote.parent / "bucket")], traces, skip=[root / ".git", root / ".expunge"]
    )
    for place in KILLS:
        _kill_at(root, place)
    picture = next(trace.data for trace in traces if trace.kind == "picture")
    (root / "notes.html").write_bytes(b"<img src='" + base64.b64encode(picture) + b"'>")
    stray = command(root, "expunge", "purge", "r001", "--yes", check=False)
    (root / "notes.html").unlink()
    for place in ("proof", "keep", "ledger", "certificate"):
        _kill_at(root, place)
    proof = json.loads(command(root, "expunge", "purge", "r001", "--yes", "--json").stdout)
    left = _fetched(address, remote.parent / "bucket after")
    return Purged(
        root, remote, left, planned, traces, forgotten, journal.retained, whole, before, refused, stray, proof
    )


def _fetched(address: str, folder: Path) -> Path:
    """All that a bucket holds now, as files."""
    fsspec.filesystem("s3", skip_instance_cache=True).get(address, str(folder), recursive=True)
    return folder


def _kill_at(root: Path, place: str) -> None:
    killed = command(root, sys.executable, "-c", KILLED, place, check=False)
    assert killed.returncode == -signal.SIGKILL, f"{place}: {killed.stderr}"


def _copy(served: Path, root: Path) -> None:
    """Copy a project; MLflow knows its files by their whole paths, which must lead to the copy."""
    shutil.copytree(served, root, symlinks=True)
    columns = {
        "experiments": "artifact_location",
        "runs": "artifact_uri",
        "logged_models": "artifact_location",
        "model_versions": "storage_location",
    }
    with closing(sqlite3.connect(root / "mlflow.db")) as connection:
        for table, column in columns.items():
            connection.execute(f"UPDATE {table} SET {column} = replace({column}, ?, ?)", [str(served), str(root)])
        connection.commit()


def test_before_the_purge_every_surface_holds_what_was_forgotten(purged: Purged) -> None:
    kinds = ("base64", "caption", "picture", "pixels", "sample id", "vector")
    assert coverage(purged.traces) == dict.fromkeys(kinds, 14)
    top = purged.root.parents[1]
    found = {(Path(seen.path).relative_to(top).parts, seen.kind) for seen in purged.before.findings}
    for kind in ("picture", "caption"):
        assert {"data", ".dvc", "files"} <= {part for parts, seen in found if seen == kind for part in parts}
    assert {"picture", "caption", "vector"} <= {seen for parts, seen in found if "bucket" in parts}
    vectors = [parts for parts, seen in found if seen == "vector"]
    assert {"embeddings", "index", ".dvc", "files"} <= {part for parts in vectors for part in parts}


def test_what_will_be_removed_is_listed_first_and_nothing_happens_without_a_yes(purged: Purged) -> None:
    listed = {item.path for item in purged.planned.items}
    assert any(path.startswith("data/catalog/part-") for path in listed)
    assert {"models/base", "data/embeddings/base", "data/index/base"} <= listed
    assert {"DVC cache", "DVC remote store", "DVC remote bucket", "MLflow"} <= {
        item.surface for item in purged.planned.items
    }
    assert not any("r001" in item.path for item in purged.planned.items)
    assert isinstance(purged.refused, ExpungeError)
    assert "--yes" in str(purged.refused)
    assert "models/base/model.safetensors" in purged.digests


def test_killed_at_every_step_it_ends_with_nothing_forgotten_anywhere(purged: Purged) -> None:
    paths = Paths(purged.root)
    allowed = places.pseudonyms_allowed(paths, load_params(paths.params), ["r001"])
    after = scan(
        [purged.root, purged.remote, purged.bucket], purged.traces, skip=[purged.root / ".git"], may_hold=allowed
    )
    assert after.findings == []
    assert after.unread == []
    assert purged.proof["clean"]
    assert purged.proof["scan"]["files"] > 100
    assert purged.proof["forgotten"]["samples"] == 14
    assert not paths.purges.joinpath("r001").exists()
    assert not purged.forgotten & set(json.dumps(purged.proof).split('"'))


def test_a_stray_copy_is_named_by_file_and_kind_and_fails_the_purge(purged: Purged) -> None:
    assert purged.stray.returncode == 1
    assert "not clean: notes.html" in purged.stray.stderr.replace("\n", " ")


def test_what_stays_is_bit_for_bit_what_it_was(purged: Purged) -> None:
    now = digests(purged.root)
    assert {path: digest for path, digest in purged.digests.items() if path.startswith(STAYS)}.items() <= now.items()
    assert not any("/base/" in path for path in now)
    catalog = Catalog(purged.root / "data" / "catalog")
    assert purged.proof["retained"] == {"samples": 186, "digest": purged.retained}
    assert len(catalog) == 186
    assert not purged.forgotten & set(catalog.ids)
    command(purged.root, "expunge", "search", "--text", "flag", "-k", "5")


def test_dvc_finds_nothing_to_do_and_the_remote_has_all_that_stays(purged: Purged) -> None:
    assert "up to date" in command(purged.root, "dvc", "status").stdout
    out = command(purged.root, "dvc", "repro").stdout
    assert "up to date" in out
    assert "Running stage" not in out
    forced = command(purged.root, "dvc", "repro", "--force", "catalog").stdout
    assert "Running stage" not in forced
    locks = read_locks(Paths(purged.root))
    for remote in (purged.remote, purged.bucket):
        objects = {path.parent.name + path.name for path in remote.glob("files/md5/??/*")}
        for path in ("data/catalog", "models/r001", "data/embeddings/r001", "reports/r001/metrics.json"):
            assert locks.md5(path) in objects
    assert any("DVC remote bucket" in place for place in purged.proof["out_of_reach"])


def test_writing_the_pipeline_anew_keeps_what_the_purge_made_of_it(purged: Purged) -> None:
    def said() -> dict:
        return {path: yaml.safe_load(path.read_text()) for path in [paths.pipeline, paths.release("r001").pipeline]}

    paths = Paths(purged.root)
    before = said()
    bring_up_to_date(paths, CatalogParams())
    assert said() == before
    assert "up to date" in command(purged.root, "dvc", "status").stdout


def test_the_release_can_be_traced_and_mlflow_says_what_was_purged(purged: Purged, monkeypatch) -> None:
    chain = json.loads(command(purged.root, "expunge", "trace", "req-0001", "--json").stdout)
    assert chain["intact"]
    missing = [check["what"] for check in chain["checks"] if check["state"] == "missing"]
    assert missing == ["model that r001 was made from"]
    assert chain["ancestors"][0]["model_digest"] == purged.digests["models/base/model.safetensors"]
    monkeypatch.chdir(purged.root)
    paths = Paths()
    store = existing_store(paths, load_params(paths.params).mlflow)
    base, release = store.versions()
    assert (base.tags["purged"], release.tags.get("purged")) == ("r001", None)
    weights = [path.parent.parent.name for path in purged.root.glob("mlartifacts/models/*/artifacts/*.safetensors")]
    assert weights == [release.source.rpartition("/")[2]]


def test_the_ledger_says_purged_and_names_the_proof(purged: Purged) -> None:
    from expunge.project.files import sha256_file

    paths = Paths(purged.root)
    record = Ledger.open(load_params(paths.params).ledger, paths.root).get("req-0001")
    assert record.state == "purged"
    assert record.events[-1].payload == {"release": "r001", "proof": sha256_file(paths.release("r001").purge)}
    assert [event.kind for event in record.events].count("purged") == 1


def test_the_release_is_as_certified_and_the_certificate_says_that_it_was_purged(purged: Purged) -> None:
    said = command(purged.root, "expunge", "verify", "r001").stdout
    assert "is as certified" in said
    assert "; purged." in said
    certificate = (purged.root / "reports/r001/certificate.md").read_text(encoding="utf-8")
    assert "not purged yet" not in certificate


def test_a_second_purge_of_the_same_release_says_that_it_is_done(purged: Purged) -> None:
    again = command(purged.root, "expunge", "purge", "r001", "--yes", check=False)
    assert again.returncode == 1
    assert "purged already" in again.stderr


@pytest.mark.parametrize(
    ("release", "reason"),
    [("base", "forgotten nothing"), ("r009", "no release r009"), ("r001", "not finished")],
)
def test_what_cannot_be_purged_is_refused_with_the_reason(tmp_path, release, reason) -> None:
    paths = fake_release.make_project(tmp_path)
    with pytest.raises(ExpungeError, match=reason):
        plan(paths, fake_release.params_of(tmp_path), release)
