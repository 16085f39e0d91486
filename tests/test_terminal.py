"""The terminal: short help everywhere, flags that look like flags, quiet, plain progress, no second voice."""

from __future__ import annotations

import io
import logging
import subprocess
import sys
import time
from itertools import count
from pathlib import Path

import pytest
from rich.console import Console
from typer.main import get_command
from typer.testing import CliRunner

from expunge.cli import _quiet_first, app
from expunge.commands.common import has_desktop
from expunge.project.paths import Paths
from expunge.project.prefect_home import running_server
from expunge.project.progress import _rate, brief, progress


def commands(command=None, words=()):
    """The words of every command."""
    command = command or get_command(app)
    found = getattr(command, "commands", None)
    return [words] if not found else [one for name, sub in found.items() for one in commands(sub, (*words, name))]


@pytest.mark.parametrize("words", commands(), ids=" ".join)
def test_every_command_has_short_help_and_shows_flags_without_a_type(words: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(app, [*words, "-h"], env={"COLUMNS": "120"})
    assert shown.exit_code == 0
    assert "<bool>" not in shown.stdout
    assert "-h" in shown.stdout


WITHOUT_RESULT = {("init",), ("doctor",), ("serve",)}
"""A conversation, a list of advice, and a service."""


@pytest.mark.parametrize("words", [words for words in commands() if words not in WITHOUT_RESULT], ids=" ".join)
def test_every_command_with_a_result_gives_it_to_machines(words: tuple[str, ...]) -> None:
    assert "--json" in CliRunner().invoke(app, [*words, "--help"], env={"COLUMNS": "120"}).stdout


def test_the_shell_can_complete_commands() -> None:
    environment = {"_EXPUNGE_COMPLETE": "complete_bash", "COMP_WORDS": "expunge sta", "COMP_CWORD": "1"}
    found = CliRunner().invoke(app, [], prog_name="expunge", env=environment)
    assert {"status", "stages"} <= set(found.stdout.split())


def test_quiet_may_stand_anywhere_and_leaves_results_and_errors(tmp_path: Path) -> None:
    assert _quiet_first(["status", "-q"]) == ["--quiet", "status"]
    assert _quiet_first(["status"]) == ["status"]
    command = [sys.executable, "-m", "expunge.cli", "init", str(tmp_path / "p"), "--yes", "--quiet"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert done.stdout == ""
    refused = subprocess.run([*command[:3], "-q", "status"], cwd=tmp_path, capture_output=True, text=True)
    assert refused.returncode == 1
    assert refused.stderr.startswith("Error: ")


def test_progress_off_a_terminal_is_plain_lines_with_a_rate(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    clock = iter([0.0, 4.0, 40.0, 45.0])
    monkeypatch.setattr("expunge.project.progress.time.monotonic", lambda: next(clock))
    with progress("embed") as report:
        report(1, 200)
        report(80, 200)
        report(200, 200)
    said = capsys.readouterr().err
    assert said == "embed: 80/200, 2/s, 60 s left\nembed: 200/200, 4/s\n"


def test_what_takes_less_than_two_seconds_leaves_no_line_in_a_log(capsys: pytest.CaptureFixture[str]) -> None:
    with progress("audit") as report:
        report(9, 9)
    assert capsys.readouterr().err == ""


def test_a_part_of_other_work_is_shown_once_it_takes_its_time_and_leaves_nothing(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = count(0, 40)
    monkeypatch.setattr("expunge.project.progress.time.monotonic", lambda: next(clock))
    with brief("encode captions") as report:
        for done in (10, 20, 30):
            report(done, 30)
    with brief("build the catalog") as report:
        report(512, 0)
        report(1024, 0)
    lines = capsys.readouterr().err.splitlines()
    assert lines == [
        "encode captions: 10/30, 8.0 s each, 160 s left",
        "encode captions: 20/30, 6.0 s each, 60 s left",
        "build the catalog: 512, 6/s",
        "build the catalog: 1024, 9/s",
    ]


def test_a_bar_within_a_bar_is_shown_below_it(monkeypatch: pytest.MonkeyPatch) -> None:
    shown, clock = io.StringIO(), count(0, 3)
    monkeypatch.setattr("expunge.project.progress.time.monotonic", lambda: next(clock))
    terminal = Console(file=shown, force_terminal=True, width=100)
    monkeypatch.setattr("expunge.project.progress.Console", lambda **options: terminal)
    with progress("unlearn") as outer:
        outer(0, 128)
        with brief("encode captions") as inner:
            inner(256, 1024)
            time.sleep(0.4)  # the bars are drawn ten times a second
            inner(1024, 1024)
        outer(1, 128)
    assert "0/128" in shown.getvalue()
    assert "256/1024" in shown.getvalue()
    assert "1024/1024" not in shown.getvalue()


def test_progress_says_nothing_where_quiet_was_asked_for(capsys: pytest.CaptureFixture[str], monkeypatch) -> None:
    monkeypatch.setenv("EXPUNGE_QUIET", "1")
    with progress("embed") as report:
        report(200, 200)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("done", "seconds", "said"), [(0, 9, ""), (5, 0.1, ""), (3000, 2, "1,500/s"), (2, 9, "4.5 s each")]
)
def test_a_rate_is_told_the_way_round_that_reads_well(done: int, seconds: float, said: str) -> None:
    assert _rate(done, seconds) == said


def test_no_page_is_opened_where_there_is_no_desktop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "platform", "linux")
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        monkeypatch.delenv(name, raising=False)
    assert not has_desktop()
    monkeypatch.setenv("DISPLAY", ":0")
    assert has_desktop()


def test_what_dvc_says_is_said_once(capsys: pytest.CaptureFixture[str]) -> None:
    from tasks.reproduce import _say_once

    heard: list[str] = []

    class Second(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            heard.append(record.getMessage())

    handler = Second()
    logging.getLogger().addHandler(handler)
    try:
        _say_once()
        logging.getLogger("dvc.stage.run").warning("Running stage 'x'")
    finally:
        logging.getLogger().removeHandler(handler)
    assert heard == []
    assert not logging.getLogger("dvc.repo.scm_context").isEnabledFor(logging.INFO)


def test_a_release_uses_the_running_server_and_none_that_has_gone(tmp_path: Path) -> None:
    import socket

    paths = Paths(tmp_path)
    paths.server_environment.parent.mkdir()
    assert running_server(paths) == {}
    with socket.create_server(("127.0.0.1", 0)) as server:
        address = f"http://127.0.0.1:{server.getsockname()[1]}/api"
        paths.server_environment.write_text(f"export PREFECT_API_URL={address}\nexport PREFECT_API_AUTH_STRING='a b'\n")
        assert running_server(paths) == {"PREFECT_API_URL": address, "PREFECT_API_AUTH_STRING": "a b"}
    assert running_server(paths) == {}


def test_the_pipeline_fits_a_hundred_columns_in_an_order_in_which_it_can_run(tmp_path: Path) -> None:
    import shutil

    from expunge.lineage.dvc.stages import stage_groups
    from project import ROOT

    for name in ("dvc.yaml", "releases"):
        source = ROOT / name
        shutil.copytree(source, tmp_path / name) if source.is_dir() else shutil.copy(source, tmp_path / name)
    for lock in tmp_path.rglob("dvc.lock"):
        lock.unlink()
    groups = stage_groups(Paths(tmp_path))
    assert [(group.release, group.parent) for group in groups] == [("base", None), ("r001", "base")]
    for group in groups:
        done: set[str] = set()
        for stage in group.stages:
            assert done.issuperset(stage.after), stage
            assert stage.state == "not run"
            done.add(stage.name)
    assert {"select", "gold", "unlearn", "register"} <= done
    command = [sys.executable, "-m", "expunge.cli", "dag"]
    shown = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=True).stdout
    assert max(len(line) for line in shown.splitlines()) <= 100
    assert "unlearn after select, gold" in shown
