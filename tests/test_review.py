"""The review in Prefect: a run waits for a person, and what they decide is in the ledger under their name."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from playwright.sync_api import Browser, Request, expect
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.events.worker import EventsWorker
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run
from prefect.logging.handlers import APILogWorker
from prefect.settings import PREFECT_API_AUTH_STRING, PREFECT_API_URL, PREFECT_UI_URL, temporary_settings
from prefect.utilities.urls import url_for
from typer.testing import CliRunner

from browser import started as started_browser
from expunge.cli import app
from expunge.intake.desk import Desk
from expunge.near_duplicates.find import NearDuplicate
from expunge.project.paths import Paths
from project import ROOT, tiny_params, write_params
from samples import make_catalog

pytestmark = pytest.mark.slow

PATIENCE = 120_000
"""Milliseconds that a page may take on a busy machine."""
COPIES = ("sample:0001", "sample:0002")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """A desk with one request for class apple, of which two other samples are said to be near-duplicates."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, tiny_params(ledger={"seed": None}))
    make_catalog(tmp_path / "data" / "catalog", 24)
    found = [NearDuplicate(name, "sample:0000", 0.98, 12, 9.0) for name in COPIES]
    monkeypatch.setattr(Desk, "near_duplicates", lambda *_: found)
    made = Desk(Paths())
    made.ledger.add([{"kind": "class", "class_name": "apple"}], "gdpr-art17", by="clerk")
    return made


@pytest.fixture
def secret(desk: Desk, tmp_path: Path) -> Iterator[str]:
    """What lets a person into the server that `make serve` starts; this process uses that server meanwhile."""
    from expunge.project.guard import origins_of
    from flows.serve import client_settings, server_settings, wait_until_healthy

    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    client = client_settings(desk.paths, port)
    environment = os.environ | client | server_settings(origins_of(port), client["PREFECT_API_AUTH_STRING"])
    environment |= {"PREFECT_HOME": str(tmp_path / "prefect"), "PYTHONPATH": str(ROOT)}
    with open(tmp_path / "log", "w") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "flows.server", str(port)], env=environment, stdout=log, stderr=log
        )
    try:
        wait_until_healthy(client["PREFECT_API_URL"], server)
        names = (PREFECT_API_URL, PREFECT_API_AUTH_STRING, PREFECT_UI_URL)
        with temporary_settings({name: client[name.name] for name in names}):
            yield client["PREFECT_API_AUTH_STRING"]
            # What this process has to tell this server is told now: Prefect would wait for it for ever later.
            APILogWorker.drain_all(timeout=30)
            EventsWorker.drain_all(timeout=30)
    finally:
        server.terminate()
        server.wait(timeout=60)


def started(request_id: str) -> FlowRun:
    """A run of the deployment, taken up by this process as a worker does it."""
    from flows.review import requests

    with get_client(sync_client=True) as client:
        flow_id = client.create_flow(requests)
        deployment = client.create_deployment(flow_id, "requests")
        return client.create_flow_run_from_deployment(deployment, parameters={"request_id": request_id})


def gone_on(run: UUID) -> FlowRun:
    """The run after this process has worked on it until it waits or ends."""
    from flows.review import requests

    with get_client(sync_client=True) as client:
        with contextlib.suppress(Pause):  # by which a worker's process ends
            run_flow(requests, flow_run=client.read_flow_run(run), return_type="state")
        return client.read_flow_run(run)


def waiting(desk: Desk) -> UUID:
    run = gone_on(started("req-0001").id)
    assert run.state.name == "Suspended", run.state
    assert desk.ledger.get("req-0001").state == "previewed"
    return run.id


@pytest.mark.usefixtures("prefect_server")
def test_a_request_is_approved_with_one_near_duplicate_and_without_the_other(desk: Desk) -> None:
    from flows.review import field_of

    run = waiting(desk)
    with get_client(sync_client=True) as client:
        [artifact] = [one for one in client.read_artifacts() if one.flow_run_id == run]
    assert "would delete 6 samples" in artifact.data
    assert all(name in artifact.data for name in COPIES)
    answer = {"decision": "approve", "by": "Ada Lovelace", "reason": "", field_of(COPIES[0]): True}
    resume_flow_run(run, run_input=answer)
    assert gone_on(run).state.is_completed()
    record = desk.ledger.get("req-0001")
    assert [event.kind for event in record.events] == ["received", "previewed", "approved"]
    assert (record.events[-1].by, record.events[-1].payload["excluded"]) == ("Ada Lovelace", [COPIES[1]])
    assert [one.sample_id for one in record.approved_near_duplicates] == [COPIES[0]]


def test_a_reviewer_approves_in_prefects_own_pages_and_leaves_one_near_duplicate_out(desk: Desk, secret: str) -> None:
    before = datetime.now(UTC)
    run = waiting(desk)
    with started_browser() as browser:
        asked = approved_by_hand(browser, url_for("flow-run", run), secret)
        elsewhere = [one for one in asked if not one.url.startswith(("http://127.0.0.1:", "data:", "blob:"))]
        assert [one.url for one in elsewhere if "csp" not in (one.failure or "")] == []
    assert gone_on(run).state.is_completed()
    shown = CliRunner().invoke(app, ["request", "show", "req-0001"]).output
    last = desk.ledger.get("req-0001").events[-1]
    assert (last.kind, last.by, last.payload["excluded"]) == ("approved", "Ada Lovelace", [COPIES[1]])
    assert before.replace(microsecond=0) <= datetime.fromisoformat(last.at) <= datetime.now(UTC)
    assert [one.sample_id for one in desk.ledger.get("req-0001").approved_near_duplicates] == [COPIES[0]]
    for said in ("Ada Lovelace", last.at, f"takes    {COPIES[0]}", f"leaves   {COPIES[1]}"):
        assert said in shown


def approved_by_hand(browser: Browser, address: str, secret: str) -> list[Request]:
    """Sign in at a run's page and fill in its form, as a reviewer does; returns all that the page asked for."""
    tab, asked = browser.new_page(), []
    tab.on("request", lambda one: asked.append(one))
    tab.set_default_timeout(PATIENCE)
    expect.set_options(timeout=PATIENCE)
    tab.goto(address)
    tab.locator("input[type=password]").fill(secret)
    tab.keyboard.press("Enter")
    tab.get_by_role("button", name="Open menu").click()
    tab.get_by_role("menuitem", name="Resume").click()
    form = tab.get_by_role("dialog")
    expect(form).to_contain_text("would delete 6 samples")
    form.get_by_label("Select Decision").click()
    tab.get_by_role("option", name="approve").click()
    form.get_by_label("Your name").fill("Ada Lovelace")
    form.get_by_label(f"Forget {COPIES[0]} too").check()
    form.get_by_role("button", name="Resume").click()
    expect(tab.get_by_text("Flow run resumed")).to_be_visible()
    return asked


@pytest.mark.usefixtures("prefect_server")
def test_a_rejection_needs_a_reason_and_leaves_no_page_of_pictures(desk: Desk) -> None:
    run = waiting(desk)
    page = desk.paths.preview_page("req-0001")
    assert page.is_file()
    resume_flow_run(run, run_input={"decision": "reject", "by": "Ada", "reason": " "})
    assert "Say why" in gone_on(run).state.message
    assert desk.ledger.get("req-0001").state == "previewed"
    run = waiting(desk)
    resume_flow_run(run, run_input={"decision": "reject", "by": "Ada", "reason": "Not theirs"})
    assert gone_on(run).state.is_completed()
    assert desk.ledger.get("req-0001").events[-1].payload == {"reason": "Not theirs"}
    assert not page.exists()


@pytest.mark.usefixtures("prefect_server")
def test_an_answer_to_a_preview_that_has_changed_decides_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from expunge.intake.review import look
    from flows.review import field_of

    run = waiting(desk)
    monkeypatch.setattr(Desk, "near_duplicates", lambda *_: [NearDuplicate("sample:0003", "sample:0000", 0.9, 12, 9.0)])
    look(Desk(Paths()), "req-0001", "somebody else")
    resume_flow_run(run, run_input={"decision": "approve", "by": "Ada", field_of(COPIES[0]): True})
    assert gone_on(run).state.is_failed()
    assert desk.ledger.get("req-0001").state == "previewed"


@pytest.mark.usefixtures("prefect_server")
def test_what_is_decided_already_is_not_asked_again(desk: Desk) -> None:
    desk.ledger.reject("req-0001", "Ada", "no")
    state = gone_on(started("req-0001").id).state
    assert state.is_failed()
    assert "nothing to decide" in state.message
