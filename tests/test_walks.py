"""What the documentation tells people to type works, page by page and from top to bottom, and prints what it shows."""

from __future__ import annotations

import csv
import os
import shutil
import socket
import sqlite3
import sys
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from architectures import shrunk
from buckets import bucket
from expunge.models import clip
from formats import corpus, folder_csv
from postgres import postgres_server
from project import ROOT, commands, own_params, run, write_params
from walk import Walk

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """Where backups go, under a passphrase that is asked for otherwise; no package is fetched from anywhere."""
    monkeypatch.setenv("EXPUNGE_BACKUP_PASSPHRASE", "a long passphrase of tests")
    monkeypatch.setenv("PIP_DISABLE_PIP_VERSION_CHECK", "1")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_NO_DEPS", "1")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("COLUMNS", "120")
    (tmp_path / "elsewhere").mkdir()
    return {"/elsewhere": str(tmp_path / "elsewhere")}


@pytest.fixture
def project(served: Path, tmp_path: Path) -> Path:
    """A copy of a project with one release, which serves req-0001."""
    return shutil.copytree(served, tmp_path / "project", symlinks=True)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Walk]:
    """A walk whose servers are stopped in any case."""
    walk = Walk(tmp_path)
    yield walk
    walk.close()


def test_the_tutorial_runs_from_top_to_bottom_and_prints_what_it_says(
    elsewhere: dict[str, str], tmp_path: Path
) -> None:
    walk = Walk(tmp_path)
    walk.take("tutorial")
    assert walk.typed > 12


def test_the_readme_runs_from_the_demo_to_the_purge(project: Path, elsewhere: dict[str, str]) -> None:
    """The demo is built already, as by whoever types it a second time; of the tests it starts those of one file."""
    for name in ("Makefile", "pyproject.toml", "constraints.txt"):
        shutil.copy(ROOT / name, project)
    (project / "tests").mkdir()
    for name in ("conftest", "project", "forks", "test_scores"):
        shutil.copy(ROOT / "tests" / f"{name}.py", project / "tests")
    installed(project / ".venv")
    second = run(project, "expunge", "request", "add", "--class", "family", "--basis", "quality").stdout.split()[-1]
    run(project, "expunge", "request", "withdraw", second, "--reason", "asked by mistake", "--by", "tests")
    walk = Walk(project, {"PYTEST_ADDOPTS": "tests/test_scores.py", "WORKERS": "1"}, elsewhere)
    walk.take("demo")
    assert walk.typed == 17


def installed(environment: Path) -> None:
    """The environment that runs the tests, as `make` would have made it, with the quick commands in it."""
    (environment / "bin").mkdir(parents=True)
    for part in Path(sys.prefix).iterdir():
        if part.name != "bin" and not part.name.startswith("."):
            (environment / part.name).symlink_to(part)
    for program in [*commands().iterdir(), *(Path(sys.prefix) / "bin").iterdir()]:
        if not (environment / "bin" / program.name).is_symlink():
            (environment / "bin" / program.name).symlink_to(program)
    (environment / ".installed").touch()


@pytest.fixture
def theirs(tmp_path: Path, elsewhere: dict[str, str]) -> dict[str, str]:
    """120 pictures of 40 people, and a model, as the pages name them."""
    said = folder_csv(tmp_path / "srv", corpus(120))
    table = Path(said["captions"])
    with open(table, encoding="utf-8") as stream:
        [_, *rows] = csv.reader(stream)
    with open(table, "w", newline="", encoding="utf-8") as stream:
        csv.writer(stream).writerows([["file_name", "caption", "user_id"], *rows])
    clip.save(clip.create(shrunk("ViT-B-32", tmp_path / "tokenizer"), 0), tmp_path / "models" / "ours")
    return elsewhere | {"/srv/": f"{tmp_path}/srv/", "/models/ours": f"{tmp_path}/models/ours"}


def quick(name: str) -> dict:
    """After `expunge init NAME` the recipe is one that takes seconds."""

    def shrink(folder: Path) -> None:
        write_params(folder / name, own_params(folder / name))

    return {f"expunge init {name} ": shrink}


def test_from_ones_own_pictures_to_a_release_by_a_method_of_choice(theirs: dict[str, str], tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    Walk(tmp_path / "data", instead=theirs).take("formats")
    walk = Walk(tmp_path, instead=theirs, after=quick("clip-releases"))
    walk.take("own")


def test_the_readmes_way_to_ones_own_data_ends_with_a_model(theirs: dict[str, str], tmp_path: Path) -> None:
    walk = Walk(tmp_path, instead=theirs, after=quick("clip-releases"))
    walk.take("own, in short")
    assert (walk.where / "models" / "base" / "model.safetensors").is_file()


def test_a_source_of_ones_own_is_a_package_of_twenty_lines(tmp_path: Path, elsewhere: dict[str, str]) -> None:
    with closing(sqlite3.connect(tmp_path / "shop.db")) as shop:
        shop.execute("CREATE TABLE products (id INTEGER, title TEXT, category TEXT, owner TEXT, photo BLOB)")
        rows = [(row.number, row.caption, row.class_, row.subject, row.picture) for row in corpus(60)]
        shop.executemany("INSERT INTO products VALUES (?, ?, ?, ?, ?)", rows)
        shop.commit()
    site = str(tmp_path / "site")
    installs = {"PIP_TARGET": site, "PIP_NO_BUILD_ISOLATION": "false"}
    found = {"PYTHONPATH": os.pathsep.join([site, str(ROOT)])}
    walk = Walk(tmp_path, installs | found, {"/srv/shop.db": str(tmp_path / "shop.db")}, quick("shop"))
    walk.take("extending")


def test_a_project_is_purged_backed_up_restored_and_moved(project: Path, elsewhere: dict[str, str]) -> None:
    base = project.parent
    (base / "store").mkdir()
    run(base, "git", "init", "--quiet", "--bare", "origin")
    run(project, "git", "remote", "add", "origin", str(base / "origin"))
    run(project, "git", "push", "--quiet", "--set-upstream", "origin", "HEAD")
    run(base / "origin", "git", "symbolic-ref", "HEAD", run(project, "git", "symbolic-ref", "HEAD").stdout.strip())
    run(project, "dvc", "remote", "add", "--default", "store", str(base / "store"))
    places = {
        "git@git.example.org:clip-releases.git": str(base / "origin"),
        "/srv/clip-releases": str(base / "clip-releases"),
        "/mnt/old": str(project),
    }
    walk = Walk(project, instead=elsewhere | places)
    walk.take("keep")
    assert walk.where == base / "clip-releases"
    assert "up to date" in run(walk.where, "dvc", "status").stdout


def test_a_project_grows_onto_more_processes_s3_and_postgresql(project: Path, elsewhere: dict[str, str]) -> None:
    """Two processes of one machine stand in for two machines, and servers on loopback for those of a cloud."""
    with bucket() as address, postgres_server() as database:
        places = {
            "--nnodes 2 --nproc-per-node 8": "--nnodes 1 --nproc-per-node 2",
            "head:29500": f"127.0.0.1:{free_port()}",
            "s3://your-bucket": address,
            "postgresql://expunge@db.example.org/expunge": database.database(),
        }
        Walk(project, instead=elsewhere | places).take("grow")


def test_a_controllers_request_is_recorded_and_answered(project: Path, elsewhere: dict[str, str], server: Walk) -> None:
    server.where, server.instead = project, {"8600": str(free_port())}
    server.take("protocols")
