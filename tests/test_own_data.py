"""A catalog of one's own data through the command line: changes are noticed, and other packages bring sources."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

from expunge.corpus.catalog import Catalog
from formats import Row, corpus, folder_csv
from project import ROOT, own_params, run, write_params

pytestmark = pytest.mark.slow


def test_what_changed_since_the_catalog_was_built_is_noticed_and_the_rest_is_kept(tmp_path: Path) -> None:
    rows = corpus(199)
    said = folder_csv(tmp_path / "theirs", rows)
    run(
        tmp_path,
        "expunge",
        "init",
        "project",
        "--source",
        "folder",
        "--data",
        said["data"],
        "--captions",
        said["captions"],
    )
    project = tmp_path / "project"
    write_params(project, own_params(project))
    run(project, "dvc", "repro", "catalog")
    assert "catalog" not in run(project, "dvc", "status", "catalog").stdout
    rows[50] = Row(50, "another caption", rows[50].picture)
    folder_csv(tmp_path / "theirs", rows)
    (tmp_path / "theirs" / "pictures" / rows[60].class_ / f"{rows[60].name}.png").unlink()
    assert "changed deps" in run(project, "dvc", "status", "catalog").stdout
    told = run(project, "dvc", "repro", "catalog").stdout
    assert "1 of 199 rows in quarantine (1 missing picture)" in told
    shards = len(Catalog(project / "data" / "catalog").shards)
    assert int(told.split(" kept)")[0].split()[-1]) >= shards // 2


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
    write_params(project, own_params(project))
    assert "catalog: 60 samples" in run(project, "dvc", "repro", "catalog", **site).stdout
    assert "'catalog' didn't change" in run(project, "dvc", "repro", "catalog", **site).stdout
    install(tmp_path, "1.1", 61)
    assert "catalog: 61 samples" in run(project, "dvc", "repro", "catalog", **site).stdout
