"""What waits, and why, is the first line of the index, `status` and the audit alike: no stall without a word."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
from typer.testing import CliRunner

from expunge.cli import app
from expunge.lineage.dvc.stages import running_stages
from expunge.lineage.settings import MlflowParams
from expunge.project.library import acknowledge
from expunge.project.paths import Paths
from expunge.releases.cut import create_release
from expunge.repair.index_page import write_index
from expunge.repair.overview import overview
from expunge.requests.ledger import Ledger
from expunge.requests.settings import LedgerParams
from expunge.settings import Params
from project import run
from registered import write_registration

DVC = str(Path(sys.executable).with_name("dvc"))
SECRET = [{"kind": "class", "class_name": "drum"}]
PARAMS = Params.model_construct(ledger=LedgerParams(seed=None, warn_days=5), mlflow=MlflowParams())


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A project without a release."""
    found = Paths(tmp_path)
    found.live.parent.mkdir()
    found.live.write_text("live: base\n")
    acknowledge(found)
    write_registration(found, "base", "not gated")
    return found


@pytest.fixture
def ledger(paths: Paths) -> Ledger:
    return Ledger.open(PARAMS.ledger, paths.root)


def approved(ledger: Ledger, due: date | None = None) -> str:
    request = ledger.add(SECRET, "safety", due=due, requester="Erika", note="a remark")
    ledger.approve(request.request_id, "tests")
    return request.request_id


def failed_release(paths: Paths, ledger: Ledger) -> str:
    release = create_release(paths, [ledger.get(approved(ledger)).request], "cliperase", gold=False).release
    write_registration(paths, release, "failed")
    return release


def page_of(paths: Paths) -> str:
    write_index(paths, PARAMS)
    return paths.overview.read_text(encoding="utf-8")


def test_where_nothing_waits_the_first_line_says_so(paths: Paths, ledger: Ledger) -> None:
    found = overview(paths, PARAMS)
    assert (found.first.tone, found.first.command) == ("good", "")
    assert "Nothing waits" in page_of(paths)


def test_a_failed_release_and_an_unserved_request_are_the_first_thing_that_all_of_them_say(
    paths: Paths, ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    from expunge.commands import audit as audit_command
    from expunge.commands import releases as commands

    release = failed_release(paths, ledger)
    waiting = approved(ledger)
    first = overview(paths, PARAMS).first
    assert (first.tone, first.subject, first.command) == ("failure", release, "expunge repair")
    assert "failed its gate" in first.text
    assert "req-0001" in first.text
    heading = page_of(paths).split("<h1>")[1].split("</section>")[0]
    assert heading.startswith(f"{release}</h1>")
    assert waiting in heading.split("What else waits")[1]
    monkeypatch.chdir(paths.root)
    monkeypatch.setattr(commands, "load_params", lambda _: PARAMS)
    monkeypatch.setattr(audit_command, "load_params", lambda _: PARAMS)
    assert CliRunner().invoke(app, ["status"]).stdout.startswith(f"! {first.line}")
    assert json.loads(CliRunner().invoke(app, ["status", "--json"]).stdout)["first"]["subject"] == release
    said = CliRunner().invoke(app, ["audit"])
    assert said.stdout.startswith(first.line)
    assert said.exit_code == 1
    refused = CliRunner().invoke(app, ["release"])
    assert f"Release {release} failed its gate" in str(refused.exception)


def test_an_overdue_request_comes_before_one_that_waits_and_says_what_moves_it_on(paths: Paths, ledger: Ledger) -> None:
    early = Ledger.open(PARAMS.ledger, paths.root, clock=lambda: datetime(2026, 1, 1, 12, tzinfo=UTC))
    overdue = early.add(SECRET, "safety", due=date(2026, 1, 10)).request_id
    approved(ledger)
    found = overview(paths, PARAMS)
    assert (found.first.tone, found.first.subject) == ("failure", overdue)
    assert found.first.command == f"expunge request preview {overdue}"
    assert "days overdue" in found.first.text
    assert [one.request_id for one in found.open] == [overdue, "req-0002"]


def test_a_request_that_waits_for_the_next_release_is_named_with_the_command(paths: Paths, ledger: Ledger) -> None:
    request = approved(ledger)
    first = overview(paths, PARAMS).first
    assert (first.tone, first.subject, first.command) == ("note", request, "expunge release")


def test_a_ledger_that_cannot_be_trusted_is_the_first_thing_and_the_page_is_still_written(
    paths: Paths, ledger: Ledger
) -> None:
    approved(ledger)
    (paths.root / "data" / "ledger.db").write_bytes(b"not a database" * 100)
    found = write_index(paths, PARAMS)
    assert found.first.tone == "failure"
    assert "ledger" in found.first.line
    assert [line.release for line in found.releases] == ["base"]
    assert found.first.text in page_of(paths).replace("&#39;", "'")


def test_the_index_names_requests_by_number_and_reaches_for_nothing(paths: Paths, ledger: Ledger) -> None:
    approved(ledger)
    page = page_of(paths)
    assert "req-0001" in page
    assert not [word for word in ("drum", "Erika", "a remark") if word in page]
    assert "<script" not in page
    assert "http" not in page.replace('http-equiv="Content', "")
    assert "report of base" not in page
    paths.release("base").page.write_text("a report")
    assert 'href="base/report.html">report of base</a>' in page_of(paths)


@pytest.mark.slow
def test_while_a_stage_runs_status_and_dag_name_it_where_dvc_says_busy(paths: Paths, ledger: Ledger) -> None:
    root = paths.root
    for command in (("git", "init", "--quiet"), ("dvc", "init", "--quiet")):
        run(root, *command)
    command = "until [ -e go ]; do sleep 0.1; done; mkdir -p models/base; echo 1 > models/base/model"
    stages = {"train": {"cmd": command, "outs": ["models/base"]}, "embed": {"cmd": "false", "deps": ["models/base"]}}
    paths.pipeline.write_text(json.dumps({"stages": stages}))
    with subprocess.Popen([DVC, "repro", "--quiet", "train"], cwd=root) as repro:
        try:
            deadline = time.monotonic() + 120
            while not running_stages(paths) and time.monotonic() < deadline:
                assert repro.poll() is None
                time.sleep(0.2)
            asked = run(root, "dvc", "status", check=False)
            assert (asked.returncode, "is busy" in asked.stderr) == (1, True)
            first = overview(paths, PARAMS).first
            assert (first.tone, first.subject, first.command) == ("note", "base", "expunge dag")
            assert "Its stage train runs" in first.text
            shown = run(root, sys.executable, "-m", "expunge.cli", "dag").stdout
            assert "▶ train" in shown
            assert "· embed" in shown
        finally:
            (root / "go").touch()
            assert repro.wait(timeout=120) == 0
    assert overview(paths, PARAMS).first.tone == "good"
    assert run(root, "dvc", "status", "train").returncode == 0
