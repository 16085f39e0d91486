"""The way of one's own data: from a folder of pictures to a purged release, without a line of Python."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml

from expunge.corpus.catalog import Catalog
from expunge.corpus.pictures import normalised
from formats import Row, corpus, cut_off, folder_csv
from project import ROOT, lenient_gate, run, tiny_params, write_params

pytestmark = pytest.mark.slow


def tiny(project: Path) -> dict[str, Any]:
    """The project's own corpus, with a recipe that trains in seconds."""
    params = tiny_params(gate=lenient_gate(), ledger={"seed": None}, train={"epochs": 3}, release={"gold": False})
    params["release"]["methods"] = ["retrain_text"]
    small = {"image_size": 32, "rows_per_shard": 32, "holdout": {"calibration": 0.15, "test_concepts": 0.15}}
    params["catalog"] = yaml.safe_load((project / "params.yaml").read_text())["catalog"] | small
    return params


@pytest.mark.timeout(900)
def test_from_a_folder_of_pictures_to_a_purged_release(tmp_path: Path) -> None:
    rows = [*corpus(199), cut_off(corpus(200)[199])]
    said = folder_csv(tmp_path / "theirs", rows)
    project = tmp_path / "project"
    options = ["--source", "folder", "--data", said["data"], "--captions", said["captions"], "--map", "subject=subject"]
    run(tmp_path, "expunge", "init", "project", *options)
    write_params(project, tiny(project))
    run(project, "git", "add", "--all")
    run(project, "git", "commit", "--quiet", "--message", "Ours")

    told = run(project, "dvc", "repro", "catalog").stdout
    assert "1 of 200 rows in quarantine (1 unreadable picture)" in told
    assert "catalog" not in run(project, "dvc", "status", "catalog").stdout
    rows[50] = Row(50, "another caption", rows[50].picture)
    folder_csv(tmp_path / "theirs", rows)
    (tmp_path / "theirs" / "pictures" / rows[60].class_ / f"{rows[60].name}.png").unlink()
    assert "changed deps" in run(project, "dvc", "status", "catalog").stdout
    told = run(project, "dvc", "repro", "catalog").stdout
    assert "2 of 200 rows in quarantine (1 missing picture, 1 unreadable picture)" in told
    shards = len(Catalog(project / "data" / "catalog").shards)
    assert int(told.split(" kept)")[0].split()[-1]) >= shards // 2

    run(project, "dvc", "repro", "--quiet")
    assert "up to date" in run(project, "dvc", "status").stdout
    assert "2 of 200 rows in quarantine" in (project / "reports" / "base" / "report.html").read_text()
    request = run(project, "expunge", "request", "add", "--subject", "s-03", "--basis", "gdpr-art17").stdout.split()[-1]
    run(project, "expunge", "request", "approve", request, "--by", "tests")
    run(project, "expunge", "release")
    ids = {f"{row.class_}/{row.name}.png" for row in rows if row.subject == "s-03"}
    assert request in run(project, "expunge", "certificate", "show", "r001", "--request", request).stdout
    assert "r001" in run(project, "expunge", "verify", "r001").stdout
    run(project, "expunge", "purge", "r001", "--yes")
    found = Catalog(project / "data" / "catalog").ids
    assert len(found) == 195
    assert not ids & set(found)
    assert not (project / ".expunge" / "catalog-state.json").exists()
    assert run(project, "dvc", "status").returncode == 0
    gone = normalised(next(row for row in rows if row.subject == "s-03").picture, 32)[0]
    assert not [path for path in project.rglob("*") if path.is_file() and gone in path.read_bytes()]


PACKAGE = """
from expunge.corpus.records import SourceRow
from expunge.corpus.sample import Source
from formats import corpus


def open_source(params):
    return Source("theirs", version="1", license="CC0-1.0", credit="nobody", samples=rows())


def rows():
    for row in corpus(COUNT):
        yield SourceRow(row.name, {"caption": row.caption, "label": row.class_}, row.picture, row.name)
"""


def install(folder: Path, version: str, count: int) -> None:
    """Build and install a package that brings a source into `folder / "site"`."""
    package = folder / "package"
    package.mkdir(exist_ok=True)
    (package / "their_samples.py").write_text(PACKAGE.replace("COUNT", str(count)))
    (package / "pyproject.toml").write_text(
        f'[project]\nname = "their-samples"\nversion = "{version}"\n[tool.setuptools]\npy-modules = ["their_samples"]\n'
        '[project.entry-points."expunge.sources"]\ntheirs = "their_samples:open_source"\n'
        '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'
    )
    shutil.rmtree(folder / "site", ignore_errors=True)
    options = ["--quiet", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(folder / "site")]
    run(folder, sys.executable, "-m", "pip", "install", *options, str(package))


def test_a_source_of_an_installed_package_is_offered_built_and_watched(tmp_path: Path) -> None:
    site = {"PYTHONPATH": os.pathsep.join([str(tmp_path / "site"), str(ROOT / "tests"), str(ROOT)])}
    install(tmp_path, "1.0", 60)
    assert "theirs" in run(tmp_path, "expunge", "init", "--help", COLUMNS="300", **site).stdout
    run(tmp_path, "expunge", "init", "project", "--source", "theirs", **site)
    project = tmp_path / "project"
    write_params(project, tiny(project))
    assert "catalog: 60 samples" in run(project, "dvc", "repro", "catalog", **site).stdout
    assert "'catalog' didn't change" in run(project, "dvc", "repro", "catalog", **site).stdout
    install(tmp_path, "1.1", 61)
    assert "catalog: 61 samples" in run(project, "dvc", "repro", "catalog", **site).stdout
