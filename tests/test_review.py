"""The review in Prefect: a run waits for a person, and what they decide is in the ledger under their name."""

from __future__ import annotations

import contextlib
from pathlib import Path
from uuid import UUID

import pytest
from prefect.client.orchestration import get_client
from prefect.client.schemas.objects import FlowRun
from prefect.exceptions import Pause
from prefect.flow_engine import run_flow
from prefect.flow_runs import resume_flow_run

from expunge.intake.desk import Desk
from expunge.near_duplicates.find import NearDuplicate
from expunge.project.paths import Paths
from project import tiny_params, write_params
from samples import make_catalog

pytestmark = pytest.mark.slow

COPIES = ("sample:0001", "sample:0002")


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, prefect_server: None) -> Desk:
    """A desk with one request for class apple, of which two other samples are said to be near-duplicates."""
    monkeypatch.chdir(tmp_path)
    write_params(tmp_path, tiny_params(ledger={"seed": None}))
    make_catalog(tmp_path / "data" / "catalog", 24)
    found = [NearDuplicate(name, "sample:0000", 0.98, 12, 9.0) for name in COPIES]
    monkeypatch.setattr(Desk, "near_duplicates", lambda *_: found)
    made = Desk(Paths())
    made.ledger.add([{"kind": "class", "class_name": "apple"}], "gdpr-art17", by="clerk")
    return made


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


def test_an_answer_to_a_preview_that_has_changed_decides_nothing(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    from expunge.intake.review import look
    from flows.review import field_of

    run = waiting(desk)
    monkeypatch.setattr(Desk, "near_duplicates", lambda *_: [NearDuplicate("sample:0003", "sample:0000", 0.9, 12, 9.0)])
    look(Desk(Paths()), "req-0001", "somebody else")
    resume_flow_run(run, run_input={"decision": "approve", "by": "Ada", field_of(COPIES[0]): True})
    assert gone_on(run).state.is_failed()
    assert desk.ledger.get("req-0001").state == "previewed"


def test_what_is_decided_already_is_not_asked_again(desk: Desk) -> None:
    desk.ledger.reject("req-0001", "Ada", "no")
    state = gone_on(started("req-0001").id).state
    assert state.is_failed()
    assert "nothing to decide" in state.message
