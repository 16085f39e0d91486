"""Ledger and releases together: what is withdrawn is not served, what is no longer honoured is served again."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from expunge.cli import app
from expunge.project.errors import ExpungeError
from expunge.project.files import write_json
from expunge.project.library import acknowledge
from expunge.project.paths import Paths
from expunge.releases.chain import chain, honoured_requests, live_release, load_release, next_name
from expunge.releases.cut import create_release, drop_withdrawn, plan
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest
from expunge.requests.settings import LedgerParams
from project import tiny_params, write_params


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Paths:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "live.yaml").write_text("live: base\n")
    acknowledge(Paths())
    return Paths()


@pytest.fixture
def ledger(paths: Paths) -> Ledger:
    return Ledger.open(LedgerParams(seed=None), paths.root)


def approved(ledger: Ledger) -> DeletionRequest:
    request = ledger.add([{"kind": "class", "class_name": "drum"}], "safety")
    ledger.approve(request.request_id, "tests")
    return request


def cut(paths: Paths, *requests: DeletionRequest) -> str:
    return create_release(paths, requests, "cliperase", gold=False).release


def register(paths: Paths, ledger: Ledger, name: str, verdict: str = "passed") -> None:
    """What the last step of a release writes."""
    if verdict == "passed":
        ids = [request.request_id for request in load_release(paths, name).requests]
        ledger.mark_released(ids, name, f"model of {name}")
    write_json(paths.release(name).registration, {"verdict": verdict})


def live_at(paths: Paths, name: str) -> None:
    """What a restore does."""
    paths.live.write_text(f"live: {name}\n")


# --- withdrawn ---------------------------------------------------------------------------------------------------


def test_a_request_withdrawn_before_the_cut_is_not_in_it(paths: Paths, ledger: Ledger) -> None:
    first, second = approved(ledger), approved(ledger)
    ledger.withdraw(first.request_id, reason="asked to stay")
    assert plan(paths, ledger).requests == (second,)


def test_a_request_withdrawn_while_its_release_is_built_is_never_released(paths: Paths, ledger: Ledger) -> None:
    first, second = approved(ledger), approved(ledger)
    name = cut(paths, first, second)
    ledger.withdraw(first.request_id, reason="asked to stay")
    with pytest.raises(ExpungeError, match="req-0001 is withdrawn"):
        register(paths, ledger, name)
    assert ledger.get(second.request_id).state == "approved"
    assert drop_withdrawn(paths, ledger) == name
    assert drop_withdrawn(paths, ledger) is None
    assert (live_release(paths), plan(paths, ledger).requests) == ("base", (second,))
    assert cut(paths, second) == name
    register(paths, ledger, name)
    assert honoured_requests(paths) == {second.request_id: name}


def test_a_failed_release_with_a_withdrawn_request_keeps_its_name_and_files(paths: Paths, ledger: Ledger) -> None:
    first = cut(paths, approved(ledger))
    register(paths, ledger, first)
    leaving, staying = approved(ledger), approved(ledger)
    failed = cut(paths, leaving, staying)
    register(paths, ledger, failed, "failed")
    assert drop_withdrawn(paths, ledger) is None
    ledger.withdraw(leaving.request_id, reason="asked to stay")
    assert drop_withdrawn(paths, ledger) == failed
    assert (live_release(paths), plan(paths, ledger).requests) == (first, (staying,))
    assert paths.release(failed).description.is_file()
    assert cut(paths, staying) == "r003"


# --- no longer honoured ------------------------------------------------------------------------------------------


def test_after_a_restore_what_was_released_is_served_again_under_a_new_name(paths: Paths, ledger: Ledger) -> None:
    requests = [approved(ledger) for _ in range(3)]
    for request in requests[:2]:
        register(paths, ledger, cut(paths, request))
    assert (plan(paths, ledger).requests, plan(paths, ledger).again) == ((requests[2],), ())
    live_at(paths, "r001")
    assert honoured_requests(paths) == {"req-0001": "r001"}
    assert (plan(paths, ledger).requests, plan(paths, ledger).again) == (tuple(requests[1:]), ("req-0002",))
    live_at(paths, "base")
    todo = plan(paths, ledger)
    assert (todo.requests, todo.again) == (tuple(requests), ("req-0001", "req-0002"))
    assert next_name(paths) == "r003"
    with pytest.raises(ExpungeError, match="r002 exists already"):
        create_release(paths, requests, "cliperase", gold=False, name="r002")
    register(paths, ledger, cut(paths, *todo.requests))
    assert honoured_requests(paths) == dict.fromkeys(("req-0001", "req-0002", "req-0003"), "r003")
    assert (chain(paths), plan(paths, ledger).requests) == (["base", "r003"], ())
    assert ledger.get("req-0001").release == "r003"
    ledger.verify_chain()


def test_a_release_that_has_not_passed_honours_nothing_and_its_parents_still_do(paths: Paths, ledger: Ledger) -> None:
    first = cut(paths, approved(ledger))
    register(paths, ledger, first)
    second = cut(paths, approved(ledger))
    assert honoured_requests(paths) == {"req-0001": first}
    register(paths, ledger, second, "failed")
    assert honoured_requests(paths) == {"req-0001": first}
    # A purge leaves of the parents no more than their descriptions.
    paths.release(first).registration.unlink()
    register(paths, ledger, second)
    assert honoured_requests(paths) == {"req-0001": first, "req-0002": second}


def test_status_tells_which_release_honours_which_request_and_how_long_the_others_wait(
    paths: Paths, ledger: Ledger
) -> None:
    write_params(paths.root, tiny_params(ledger={"seed": None}))
    for _ in range(2):
        register(paths, ledger, cut(paths, approved(ledger)))
    waiting = approved(ledger)
    live_at(paths, "r001")
    result = CliRunner().invoke(app, ["status", "--json"], catch_exceptions=False)
    requests = {row.pop("request_id"): row for row in json.loads(result.stdout)["requests"]}
    assert (requests["req-0001"]["honoured_by"], requests["req-0002"]["honoured_by"]) == ("r001", None)
    assert requests["req-0002"]["released_by"] == "r002"
    left = (waiting.due - ledger.today).days
    assert (requests["req-0003"]["days_left"], requests["req-0001"]["days_left"]) == (left, None)
    shown = CliRunner().invoke(app, ["status"], catch_exceptions=False).stdout
    assert "not honoured: req-0002, released with r002" in shown
    assert f"{left} days left" in shown
    assert f"{left} days left" in CliRunner().invoke(app, ["request", "list"], env={"COLUMNS": "200"}).stdout
