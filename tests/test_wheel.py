"""The wheel: one import package with all of its data, which needs no repository to run."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import sysconfig
import venv
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from expunge import __version__
from journey import folder_of_pictures, walk
from project import ROOT, run

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]


@dataclass
class Installed:
    """The wheel in an environment of its own.

    Attributes:
        wheel: the file that `python -m build` made.
        bin: where `python` and `expunge` are.
    """

    wheel: Path
    bin: Path

    def run(self, folder: Path, *command: str, check: bool = True) -> subprocess.CompletedProcess[str]:
        """Run a command in `folder` as somebody who has nothing but this environment."""
        path = os.pathsep.join([str(self.bin), os.environ["PATH"]])
        return run(folder, *command, check=check, PATH=path, PYTHONPATH="")


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Installed:
    """Built from the files that git has; the dependencies are those of the environment that runs the tests."""
    source, target = tmp_path_factory.mktemp("source"), tmp_path_factory.mktemp("installed")
    listed = run(ROOT, "git", "ls-files", "--cached", "--others", "--exclude-standard", "-z").stdout.split("\0")
    for name in listed:
        if name and not name.startswith(("bench/", "docs/images/")) and (ROOT / name).is_file():
            (source / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(ROOT / name, source / name)
    run(source, sys.executable, "-m", "build", "--no-isolation", "--outdir", str(target / "dist"))
    [wheel] = (target / "dist").glob("*.whl")
    venv.create(target / "venv", with_pip=False, symlinks=True)
    python = target / "venv" / "bin" / "python"
    pip = [sys.executable, "-m", "pip", "--python", str(python), "install", "--quiet", "--no-deps", "--no-index"]
    run(target, *pip, str(wheel))
    purelib = run(target, str(python), "-c", "import sysconfig; print(sysconfig.get_path('purelib'))").stdout.strip()
    # Only the folder is added, so the links of editable installs in it are not followed.
    Path(purelib, "dependencies.pth").write_text(sysconfig.get_path("purelib") + "\n")
    return Installed(wheel, python.parent)


def test_it_installs_one_import_package_with_its_data_and_nothing_else(installed: Installed) -> None:
    names = set(zipfile.ZipFile(installed.wheel).namelist())
    assert {name.split("/")[0] for name in names} == {"expunge", f"expunge-{__version__}.dist-info"}
    here = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "expunge").rglob("*")
        if path.is_file() and path.suffix != ".pyc"
    }
    assert here <= names
    assert not [name for name in names if name.endswith(".pyc")]


def test_the_files_of_a_project_are_the_repositorys_own(installed: Installed) -> None:
    archive, prefix = zipfile.ZipFile(installed.wheel), "expunge/template/"
    held = {name.removeprefix(prefix): archive.read(name) for name in archive.namelist() if name.startswith(prefix)}
    folders = [ROOT / "flows", ROOT / "tasks"]
    expected = [path for folder in folders for kind in ("*.py", "*.json") for path in folder.glob(kind)]
    expected += [ROOT / name for name in ("params.yaml", "prefect.yaml", ".gitignore", ".dvcignore")]
    assert held == {path.relative_to(ROOT).as_posix(): path.read_bytes() for path in expected}


def test_from_a_folder_of_pictures_to_a_purged_release_without_the_repository_and_without_a_line_of_python(
    installed: Installed, tmp_path: Path
) -> None:
    where = installed.run(tmp_path, "python", "-c", "import expunge; print(expunge.__file__)").stdout.strip()
    assert Path(where).is_relative_to(installed.bin.parent)
    assert installed.run(tmp_path, "expunge", "--version").stdout.strip() == f"expunge {__version__}"

    project = walk(tmp_path, folder_of_pictures, lambda folder, *command: installed.run(folder, *command).stdout)
    assert "passed" in installed.run(project, "expunge", "status").stdout
    assert "bird number 5 " not in installed.run(project, "expunge", "search", "--text", "bird", "-k", "117").stdout


@pytest.fixture(scope="module")
def walker(installed: Installed, tmp_path_factory: pytest.TempPathFactory) -> Iterator[subprocess.Popen[str]]:
    """A process of that environment, in an empty folder, that goes the way of whatever it is told."""
    path = os.pathsep.join([str(installed.bin), os.environ["PATH"]])
    process = subprocess.Popen(
        [str(installed.bin / "python"), str(ROOT / "tests" / "journey.py")],
        cwd=tmp_path_factory.mktemp("empty"),
        env=os.environ | {"PATH": path, "PYTHONPATH": ""},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert Path(answer(process)).is_relative_to(installed.bin.parent)
    yield process
    assert process.stdin
    process.stdin.close()  # it ends, and Prefect's server with it
    process.wait(300)


def answer(process: subprocess.Popen[str], *words: str) -> str:
    """Tell the walker a format and a folder, where `words` say them, and wait for its next line."""
    assert process.stdin
    assert process.stdout
    if words:
        print(json.dumps(words), file=process.stdin, flush=True)
    return json.loads(process.stdout.readline())


@pytest.mark.parametrize("theirs", ["webdataset", "parquet", "karpathy"])
def test_ones_own_data_in_other_formats_goes_the_same_way(
    theirs: str, walker: subprocess.Popen[str], tmp_path: Path
) -> None:
    assert answer(walker, theirs, str(tmp_path)) == "done"
