"""Ledger and releases together: what is withdrawn is not served, what is no longer honoured is served again."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from typer.testing import CliRunner

from expunge.cli import app
from expunge.project.errors import ExpungeError
from expunge.project.library import acknowledge
from expunge.project.paths import Paths
from expunge.releases.chain import chain, honoured_requests, live_release, load_release, next_name
from expunge.releases.cut import _publish, create_release, cut_planned
from expunge.releases.plan import ReleasePlan, drop_withdrawn, plan, set_back
from expunge.releases.release import Release
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest
from expunge.requests.settings import LedgerParams
from project import tiny_params, write_params
from registered import write_registration

pytestmark = pytest.mark.slow


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
    write_registration(paths, name, verdict)


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


# --- side by side, and stuck -------------------------------------------------------------------------------------


def cut_seen(arguments: tuple[Path, ReleasePlan]) -> str | None:
    """What one of several flows does that have all planned already."""
    root, seen = arguments
    release = cut_planned(Paths(root), Ledger.open(LedgerParams(seed=None), root), seen, "cliperase", False)
    return release.release if release else None


def test_flows_that_planned_before_any_of_them_cut_serve_a_request_once(paths: Paths, ledger: Ledger) -> None:
    for _ in range(2):
        approved(ledger)
    seen = plan(paths, ledger)
    with ThreadPoolExecutor(4) as pool:
        cuts = list(pool.map(cut_seen, [(paths.root, seen)] * 4))
    assert sorted(filter(None, cuts)) == ["r001"]
    assert chain(paths) == ["base", "r001"]
    assert plan(paths, ledger).unfinished == "r001"


def test_a_request_that_was_withdrawn_after_the_plan_is_not_cut(paths: Paths, ledger: Ledger) -> None:
    request = approved(ledger)
    seen = plan(paths, ledger)
    ledger.withdraw(request.request_id, reason="asked to stay")
    assert cut_planned(paths, ledger, seen, "cliperase", False) is None
    assert chain(paths) == ["base"]


def test_a_request_that_is_served_is_not_cut_again_and_a_release_that_did_so_is_undone(
    paths: Paths, ledger: Ledger
) -> None:
    first, second = approved(ledger), approved(ledger)
    register(paths, ledger, cut(paths, first))
    with pytest.raises(ExpungeError, match="r001 serves req-0001 already"):
        cut(paths, first, second)
    assert chain(paths) == ["base", "r001"]
    # What an older version of this program, or a merge of two branches, could leave behind.
    _publish(paths, Release(release="r002", parent="r001", method={"name": "x"}, gold=False, requests=(first, second)))
    live_at(paths, "r002")
    with pytest.raises(ExpungeError, match=r"req-0001.*can never be built. `expunge repair`"):
        plan(paths, ledger)
    assert set_back(paths) == "r002"
    assert (chain(paths), plan(paths, ledger).requests) == (["base", "r001"], (second,))


def test_a_failed_release_is_named_with_what_ends_it_although_nothing_else_waits(paths: Paths, ledger: Ledger) -> None:
    register(paths, ledger, cut(paths, approved(ledger)), "failed")
    with pytest.raises(ExpungeError, match=r"r001 failed its gate.*req-0001.*not served.*`expunge repair`"):
        plan(paths, ledger)
    set_back(paths)
    assert [request.request_id for request in plan(paths, ledger).requests] == ["req-0001"]
    assert next_name(paths) == "r002"
