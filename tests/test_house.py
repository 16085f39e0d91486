"""The plan of the house holds: imports point one way, files fit one view."""

from __future__ import annotations

import statistics
import subprocess
import sys
from pathlib import Path

import pytest

from project import ROOT

LONGEST, MEDIAN = 350, 110
LIBRARY = sorted(path for path in (ROOT / "expunge").rglob("*.py"))


def contracts(folder: Path) -> subprocess.CompletedProcess[str]:
    """What import-linter says of the contracts in pyproject.toml for the packages in `folder`."""
    command = [sys.executable, "-c", "from importlinter.cli import lint_imports_command as run; run()"]
    return subprocess.run([*command, "--no-logo", "--no-cache"], cwd=folder, capture_output=True, text=True)


def test_rooms_stand_on_those_below_them_and_nothing_runs_in_a_circle() -> None:
    result = contracts(ROOT)
    assert result.returncode == 0, result.stdout


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("expunge/project/files.py", "from expunge.corpus import catalog"),
        ("expunge/models/settings.py", "import expunge.settings"),
        ("expunge/selection/sets.py", "def late():\n    from expunge.selection import match"),
        ("tasks/steps.py", "import flows.release"),
    ],
    ids=["a room below", "a room's settings", "two files, deferred", "flows from tasks"],
)
def test_an_import_against_the_plan_is_found(tmp_path: Path, file: str, line: str) -> None:
    import shutil

    for name in ("expunge", "tasks", "flows"):
        shutil.copytree(ROOT / name, tmp_path / name, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "pyproject.toml", tmp_path)
    with open(tmp_path / file, "a", encoding="utf-8") as stream:
        stream.write(f"\n{line}\n")
    result = contracts(tmp_path)
    assert result.returncode == 1, result.stdout
    assert "BROKEN" in result.stdout


def test_every_file_fits_one_view() -> None:
    lines = {str(path.relative_to(ROOT)): len(path.read_text(encoding="utf-8").splitlines()) for path in LIBRARY}
    assert {name: count for name, count in lines.items() if count > LONGEST} == {}
    assert statistics.median(count for name, count in lines.items() if not name.endswith("__init__.py")) < MEDIAN


def test_every_file_says_what_it_is_for() -> None:
    assert [path for path in LIBRARY if not path.read_text(encoding="utf-8").lstrip().startswith('"""')] == []
