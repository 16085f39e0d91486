"""The documentation: it builds without a broken link, and what it tells people to type exists and does what it says."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
import typer

from expunge.cli import app
from project import ROOT
from walk import WALKS, blocks

PAGES = sorted([*(ROOT / "docs").rglob("*.md"), ROOT / "README.md", ROOT / "CONTRIBUTING.md"])
FENCE = re.compile(r"^```(\w*)[^\n]*\n(.*?)^```$", re.M | re.S)
COMMAND = re.compile(r"(?<![\w./-])expunge ((?:[a-z][a-z-]*|-{1,2}\w)[^`\n#]*)")


def commands(text: str) -> list[list[str]]:
    """The words after `expunge` of every command that a page shows in code, alone or in a line of shell."""
    code = [found for fence, found in FENCE.findall(text) if fence in ("console", "")]
    code += re.findall(r"`([^`\n]+)`", FENCE.sub("", text))
    found = []
    for piece in code:
        for one in COMMAND.findall(piece):
            words = re.split(r"\s{2,}|[|;&)…→\[]", one)[0]
            found.append(words.replace('"', "").replace("'", "").split())
    return found


def unknown(words: list[str]) -> str | None:
    """What of a command does not exist: a subcommand, or a flag of it."""
    command: Any = typer.main.get_command(app)
    for word in words:
        if word.startswith("-"):
            known = {name for one in command.params for name in (*one.opts, *one.secondary_opts)}
            flag = word.rstrip(".,:").partition("=")[0]
            if flag not in {*known, "--help", "-h"}:
                return f"{command.name} {flag}"
        elif hasattr(command, "commands"):
            name = word.rstrip(".,:")
            if name not in command.commands:
                return name
            command = command.commands[name]
    return None


def test_every_command_and_flag_of_the_documentation_exists() -> None:
    shown = {page: commands(page.read_text(encoding="utf-8")) for page in PAGES}
    assert sum(map(len, shown.values())) > 60
    wrong = {(page.name, problem) for page, found in shown.items() for one in found if (problem := unknown(one))}
    assert wrong == set()


def test_every_command_that_the_library_tells_people_to_type_exists() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (ROOT / "expunge").rglob("*.py")}
    for path in (ROOT / "expunge" / "report").glob("*.j2"):
        filled = re.sub(r"\{\{.*?\}\}", "X", path.read_text(encoding="utf-8"))
        texts[path] = "\n".join(f"`{code}`" for code in re.findall(r"<code>([^<\n]*)</code>", filled))
    shown = {path: commands(text) for path, text in texts.items()}
    assert sum(map(len, shown.values())) > 60
    wrong = {(path.name, problem) for path, found in shown.items() for one in found if (problem := unknown(one))}
    assert wrong == set()


@pytest.mark.parametrize(
    "line", ["`expunge forget r001`", "`expunge release --fast`", "```console\n$ expunge request ad\n```"]
)
def test_a_command_that_does_not_exist_is_found(line: str) -> None:
    [words] = commands(f"Run {line} now" if line.startswith("`e") else f"{line}\n")
    assert unknown(words)


FEW_STEPS = "unlearn a few steps"


def cells(page: str, first: str) -> tuple[dict[str, set[str]], list[str]]:
    """Of the table whose head begins with `first`: column → the tests named for it, and the cases of its rows.

    The second line names a test for each column, which each further row asks with its case, the first name in code.
    """
    lines = (ROOT / "docs" / page).read_text(encoding="utf-8").splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(f"| {first}"))
    table = []
    for line in lines[start:]:
        if not line.startswith("|"):
            break
        table.append([cell.strip() for cell in line[1:-1].split("|")])
    head, _, tests, *rows = table
    named = {column: set(re.findall(r"`(test_\w+)`", cell)) for column, cell in zip(head, tests, strict=True)}
    assert all(len(row) == len(head) for row in rows)
    assert all(cell and "no" not in cell.split() for row in rows for cell in row)
    at = next((number for number, name in enumerate(head) if name == "case"), 0)
    return {column: found for column, found in named.items() if found}, [row[at].strip("`") for row in rows]


def cases_of(test: Any) -> list[str]:
    """What a test is asked with."""
    [mark] = [mark for mark in test.pytestmark if mark.name == "parametrize"]
    return [case if isinstance(case, str) else case.__name__ for case in mark.args[1]]


@pytest.mark.parametrize(
    ("page", "first", "module", "columns"),
    [
        ("data.md", "format", "test_sources", ("reads", "splits", "changes noticed", "hostile files quarantined")),
        (
            "models.md",
            "architecture",
            "test_architectures",
            ("build", "load", "embed", "unlearn a few steps", "release"),
        ),
    ],
)
def test_every_cell_of_a_table_of_what_works_is_a_test(page: str, first: str, module: str, columns: tuple) -> None:
    named, rows = cells(page, first)
    assert tuple(named) == columns
    for tests in named.values():
        for name in tests:
            assert sorted(cases_of(getattr(import_module(module), name))) == sorted(rows), name


def built(folder: Path) -> subprocess.CompletedProcess[str]:
    """Build the site from a copy of its sources in `folder`."""
    shutil.copytree(ROOT / "docs", folder / "docs", ignore=shutil.ignore_patterns("commands.md"), dirs_exist_ok=True)
    shutil.copy(ROOT / "zensical.toml", folder)
    if not (folder / "expunge").exists():
        (folder / "expunge").symlink_to(ROOT / "expunge")
    environment = os.environ | {"PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])}
    reference = ["typer", "expunge.cli", "utils", "docs", "--name", "expunge", "--title", "Commands"]
    subprocess.run([*reference, "--output", "docs/reference/commands.md"], cwd=folder, env=environment, check=True)
    return subprocess.run(
        ["zensical", "build", "--strict"], cwd=folder, env=environment, capture_output=True, text=True
    )


def test_the_site_builds_without_a_broken_link_and_asks_nobody(tmp_path: Path) -> None:
    done = built(tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    page = (tmp_path / "site" / "reference" / "library.html").read_text(encoding="utf-8")
    assert "durable, hash-chained record of all deletion requests" in page  # a docstring
    assert "expunge purge" in (tmp_path / "site" / "reference" / "commands.html").read_text(encoding="utf-8")
    for html in (tmp_path / "site").rglob("*.html"):
        outside = re.findall(r"<(?:script|link|img)[^>]*(?:src|href)=\"?(https?://[^\">\s]+)", html.read_text())
        assert outside == [], html


def test_every_page_can_be_reached_from_the_menu() -> None:
    menu = (ROOT / "zensical.toml").read_text(encoding="utf-8")
    pages = {page.relative_to(ROOT / "docs").as_posix() for page in PAGES if page.is_relative_to(ROOT / "docs")}
    assert {page for page in pages if f'"{page}"' not in menu} == set()


def test_a_broken_link_stops_the_build(tmp_path: Path) -> None:
    (tmp_path / "docs").mkdir()
    built(tmp_path)
    with open(tmp_path / "docs" / "index.md", "a", encoding="utf-8") as stream:
        stream.write("\n[gone](no-such-page.md)\n")
    done = subprocess.run(["zensical", "build", "--strict"], cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode != 0


def test_every_command_of_the_documentation_is_in_a_walk_or_says_why_it_is_not_run() -> None:
    """A walk is a test that types a page's commands from top to bottom (`walk.py`)."""
    walked = [(page, heading) for walk in WALKS.values() for page, headings in walk for heading in headings or (None,)]
    left_out, unwalked = [], []
    for path in PAGES:
        page = path.relative_to(ROOT).as_posix()
        for block in blocks(page):
            if block.reason:
                left_out.append((page, block.reason))
            elif block.kind == "console" and not {(page, None), (page, block.heading)} & set(walked):
                unwalked.append((page, block.heading))
    assert unwalked == []
    assert left_out == [
        ("CONTRIBUTING.md", "the tests would start themselves"),
        ("docs/how-to/grow.md", "needs a GPU"),
    ]
    tests = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "tests").glob("test_*.py"))
    assert [name for name in WALKS if f'.take("{name}")' not in tests] == []
    assert len(walked) == len(set(walked))
