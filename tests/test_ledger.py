"""The ledger under many writers, on SQLite and on a real PostgreSQL server: nothing lost, nothing twice."""

from __future__ import annotations

import multiprocessing
import os
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from datetime import date
from itertools import chain
from pathlib import Path

import pytest

from expunge.project.errors import ExpungeError, RequestRefused
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest
from expunge.requests.settings import LedgerParams
from postgres import Server, postgres_server

pytestmark = pytest.mark.slow

SELECTORS = [{"kind": "class", "class_name": "apple"}]
WRITERS, EACH = 8, 125


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    with postgres_server() as running:
        yield running


@pytest.fixture(params=["sqlite", "postgresql"])
def params(request: pytest.FixtureRequest) -> LedgerParams:
    """An empty ledger's settings."""
    if request.param == "sqlite":
        return LedgerParams(seed=None)
    return LedgerParams(url=request.getfixturevalue("server").database(), seed=None)


def write_many(params: LedgerParams, root: Path) -> list[str]:
    """What one writer does: it adds requests and approves some; the ids it was given."""
    ledger = Ledger.open(params, root)
    ids = []
    for number in range(EACH):
        request_id = ledger.add(SELECTORS, "ccpa", note=f"{os.getpid()} {number}", by="clerk").request_id
        if number % 25 == 0:
            ledger.approve(request_id, "officer")
        ids.append(request_id)
    return ids


def write_the_same(params: LedgerParams, root: Path) -> list[str]:
    """What each of several senders does who forward the same tickets."""
    ledger = Ledger.open(params, root)
    return [ledger.add(SELECTORS, "ccpa", reference=f"T-{number}", by="clerk").request_id for number in range(10)]


def together(task, params: LedgerParams, root: Path) -> list[list[str]]:
    """Run `task` in eight processes at once; the ids that each was given."""
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(WRITERS, context) as pool:
        return list(pool.map(task, [params] * WRITERS, [root] * WRITERS))


def test_a_thousand_requests_from_eight_writers_are_all_there_once(params: LedgerParams, tmp_path: Path) -> None:
    given = together(write_many, params, tmp_path)
    ledger = Ledger.open(params, tmp_path)
    records = ledger.records()
    every = [f"req-{number:04d}" for number in range(1, WRITERS * EACH + 1)]
    assert [record.request.request_id for record in records] == every == sorted(chain.from_iterable(given))
    assert len({record.request.note for record in records}) == len(every)
    assert sum(record.state == "approved" for record in records) == len(every) // 25
    ledger.verify_chain()


def test_the_same_references_from_eight_writers_make_one_request_each(params: LedgerParams, tmp_path: Path) -> None:
    given = together(write_the_same, params, tmp_path)
    assert all(ids == given[0] for ids in given)
    assert len(Ledger.open(params, tmp_path).records()) == 10


ENDLESS = """
import itertools, sys, time
from pathlib import Path
from expunge.requests.settings import LedgerParams
from expunge.requests.ledger import Ledger
ledger = Ledger.open(LedgerParams(url=sys.argv[1], seed=None), Path(sys.argv[2]))
for number in itertools.count():
    request = ledger.add([{"kind": "class", "class_name": "apple"}], "ccpa", note=f"{sys.argv[3]} {number}", by="clerk")
    print(request.request_id, flush=True)
    time.sleep(0.01)
"""


def test_kill_minus_nine_loses_nothing_that_was_acknowledged(params: LedgerParams, tmp_path: Path) -> None:
    Ledger.open(params, tmp_path)
    command = [sys.executable, "-c", ENDLESS, params.url, str(tmp_path)]
    writers = [subprocess.Popen([*command, str(n)], stdout=subprocess.PIPE, text=True) for n in range(3)]
    acknowledged = [writer.stdout.readline().strip() for _ in range(4) for writer in writers]
    for writer in writers:
        writer.kill()
    for writer in writers:
        acknowledged += [line.strip() for line in writer.communicate()[0].splitlines()]
    ledger = Ledger.open(params, tmp_path)
    known = {record.request.request_id for record in ledger.records()}
    # A request may be on the disk although its writer died before it could say so; never the other way round.
    assert len(acknowledged) == len(set(acknowledged)) <= len(known) <= len(acknowledged) + len(writers)
    assert set(acknowledged) <= known
    ledger.add(SELECTORS, "ccpa")
    ledger.verify_chain()


# --- what a reference promises -----------------------------------------------------------------------------------


def test_a_reference_names_one_request_for_ever(params: LedgerParams, tmp_path: Path) -> None:
    ledger = Ledger.open(params, tmp_path)
    asked = {"selectors": SELECTORS, "basis": "ccpa", "requester": "Erika", "reference": 'T"7%'}
    first = ledger.add(**asked, due=date(2099, 1, 1))
    ledger.reject(first.request_id, reason="no proof of identity")
    assert ledger.add(**asked) == ledger.add(**asked, due=date(2099, 1, 1)) == first
    for change in ({"basis": "safety"}, {"requester": "Max"}, {"note": "more"}, {"due": date(2099, 1, 2)}):
        with pytest.raises(RequestRefused, match="names req-0001 already, with another"):
            ledger.add(**asked | change)
    other = ledger.add(**asked | {"reference": 't"7%'})
    assert (other.request_id, len(ledger.records())) == ("req-0002", 2)
    ledger.verify_chain()


def test_a_request_without_a_reference_keeps_the_digest_it_was_approved_with() -> None:
    content = {"request_id": "req-0001", "selectors": SELECTORS, "basis": "ccpa", "due": date(2026, 2, 28)}
    request = DeletionRequest(**content, received_at="2026-01-31T12:00:00Z")
    assert "external_reference" not in request.model_dump(mode="json")
    assert request.digest == "8056cce74002fbddd6589c74e2cb8f504c1e7608468331a2fceff9f5bd5e6cfb"


# --- after the approval ------------------------------------------------------------------------------------------


def served(ledger: Ledger, release: str = "r001") -> str:
    """The id of a request that `release` serves."""
    request_id = ledger.add(SELECTORS, "ccpa").request_id
    ledger.approve(request_id, "officer")
    ledger.mark_released([request_id], release, "aa")
    return request_id


def test_a_request_is_purged_and_verified_after_its_release(params: LedgerParams, tmp_path: Path) -> None:
    ledger = Ledger.open(params, tmp_path)
    request_id = served(ledger)
    with pytest.raises(ExpungeError, match="is released; only purged or verified requests can be verified"):
        ledger.mark_verified([request_id], "r001", "auditor", "ee")
    for _ in range(2):
        ledger.mark_purged([request_id], "r001", "officer", "dd")
        ledger.mark_verified([request_id], "r001", "auditor", "ee")
    assert [event.kind for event in ledger.history(request_id)[3:]] == ["purged", "verified"]
    with pytest.raises(ExpungeError, match="is verified; only released or purged requests can be purged"):
        ledger.mark_purged([request_id], "r001", "officer", "another")
    ledger.verify_chain()


def test_what_was_verified_of_one_model_does_not_count_for_the_next(params: LedgerParams, tmp_path: Path) -> None:
    ledger = Ledger.open(params, tmp_path)
    request_id = served(ledger)
    ledger.mark_purged([request_id], "r001", "officer", "dd")
    ledger.mark_verified([request_id], "r001", "auditor", "ee")
    ledger.mark_released([request_id], "r001", "aa")
    assert ledger.get(request_id).state == "verified"
    ledger.mark_released([request_id], "r002", "bb")
    assert (ledger.get(request_id).state, ledger.get(request_id).release) == ("released", "r002")
    ledger.mark_purged([request_id], "r001", "officer", "dd")
    assert ledger.get(request_id).state == "purged"
    ledger.verify_chain()


def test_a_request_is_withdrawn_until_a_release_serves_it_and_then_no_more(
    params: LedgerParams, tmp_path: Path
) -> None:
    ledger = Ledger.open(params, tmp_path)
    fresh, approved = (ledger.add(SELECTORS, "ccpa").request_id for _ in range(2))
    ledger.approve(approved, "officer")
    with pytest.raises(ExpungeError, match="Say why"):
        ledger.withdraw(fresh, reason=" ")
    for request_id in (fresh, approved):
        ledger.withdraw(request_id, "officer", "asked to stay")
    assert ledger.approved_unserved() == []
    with pytest.raises(ExpungeError, match="is withdrawn; only approved"):
        ledger.mark_released([approved], "r001", "aa")
    with pytest.raises(ExpungeError, match="is released; only received or previewed or approved requests"):
        ledger.withdraw(served(ledger), reason="too late")
    ledger.verify_chain()
