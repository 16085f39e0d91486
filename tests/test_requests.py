"""What the ledger of deletion requests protects."""

from __future__ import annotations

import json
import multiprocessing
import sqlite3
import stat
import string
from datetime import UTC, date, datetime
from pathlib import Path

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from expunge.cli import request as app
from expunge.commands.requests import DEFAULT_TOP
from expunge.project.clock import month_after
from expunge.project.errors import ExpungeError
from expunge.project.files import canonical_json
from expunge.requests import database as database_module
from expunge.requests import table as journal
from expunge.requests.events import FORWARD, GENESIS, Event, check_chain
from expunge.requests.keys import requester_digest
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest, IdSelector
from expunge.requests.settings import LedgerParams
from samples import make_catalog

PROJECT = Path(__file__).resolve().parents[1]
PARAMS = LedgerParams(url="sqlite:///data/ledger.db", seed="seed.jsonl")
SELECTORS = [{"kind": "class", "class_name": "apple"}]
NOON = datetime(2026, 1, 31, 12, tzinfo=UTC)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger.open(PARAMS, tmp_path, clock=lambda: NOON)


def database(root: Path) -> sqlite3.Connection:
    """The ledger's file, past the ledger."""
    return sqlite3.connect(root / "data" / "ledger.db")


def decided(ledger: Ledger) -> str:
    """The id of a new, approved request."""
    request_id = ledger.add(SELECTORS, "ccpa", by="clerk").request_id
    ledger.record_preview(request_id, {"samples": 6}, by="clerk")
    ledger.approve(request_id, by="officer")
    return request_id


# --- what a request holds ----------------------------------------------------------------------------------------


def test_request_is_due_one_month_after_receipt_even_at_a_months_end(ledger: Ledger) -> None:
    request = ledger.add(SELECTORS, "gdpr-art17")
    assert (request.request_id, request.received_at) == ("req-0001", "2026-01-31T12:00:00Z")
    assert request.due == date(2026, 2, 28)
    assert month_after(date(2026, 12, 5)) == date(2027, 1, 5)


def test_requester_is_kept_as_a_keyed_digest_only(ledger: Ledger, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("EXPUNGE_KEY", raising=False)
    first = ledger.add(SELECTORS, "ccpa", requester="Erika Mustermann, erika@example.org")
    again = ledger.add(SELECTORS, "ccpa", requester="  erika mustermann,  ERIKA@example.org ")
    assert first.requester_digest == again.requester_digest
    assert b"rika" not in (tmp_path / "data" / "ledger.db").read_bytes()
    assert stat.S_IMODE((tmp_path / ".expunge" / "key").stat().st_mode) == 0o600
    left = {path.name for path in (tmp_path / ".expunge").iterdir()}
    assert left == {"key", "ledger-head.json", "ledger-head.lock"}
    monkeypatch.setenv("EXPUNGE_KEY", "another")
    assert requester_digest("Erika Mustermann, erika@example.org", tmp_path) != first.requester_digest


def test_digest_of_a_request_survives_json_and_changes_with_its_content(ledger: Ledger) -> None:
    request = ledger.add([{"kind": "text", "text": "red apple", "min_score": 0.4}], "safety", note="remark")
    assert DeletionRequest.model_validate_json(request.model_dump_json(exclude_none=True)).digest == request.digest
    assert request.model_copy(update={"note": "other"}).digest != request.digest


@pytest.mark.parametrize(
    ("selectors", "options"),
    [
        ([], {}),
        ([{"kind": "id", "ids": []}], {}),
        ([{"kind": "face", "name": "x"}], {}),
        ([{"kind": "text", "text": "x"}], {}),
        ([{"kind": "text", "text": "x", "top": 3, "min_score": 0.1}], {}),
        ([{"kind": "text", "text": "x", "min_score": float("nan")}], {}),
        ([{"kind": "class", "class_name": "\x1b[2Jcleared"}], {}),
        ([{"kind": "class", "class_name": "\u202eelppa"}], {}),
        ([{"kind": "where", "sql": " \n "}], {}),
        (SELECTORS, {"due": date(2026, 1, 30)}),
        (SELECTORS, {"note": "bell \x07"}),
    ],
)
def test_invalid_request_is_refused_in_words_and_leaves_no_event(ledger: Ledger, selectors, options) -> None:
    with pytest.raises(ExpungeError, match="Deletion request: "):
        ledger.add(selectors, "ccpa", **options)
    assert ledger.export_events() == []


# --- the state ---------------------------------------------------------------------------------------------------


def test_a_request_goes_from_received_to_released(ledger: Ledger) -> None:
    request_id = decided(ledger)
    assert [request.request_id for request in ledger.approved_unserved()] == [request_id]
    ledger.mark_released([request_id], "r001", "ab" * 32)
    record = ledger.get(request_id)
    assert [event.kind for event in ledger.history(request_id)] == ["received", "previewed", "approved", "released"]
    assert (record.state, record.release, record.model_digest) == ("released", "r001", "ab" * 32)
    assert record.approved_digest == record.request.digest
    assert ledger.approved_unserved() == []
    assert ledger.verify_chain().hash == record.events[-1].hash


def test_releasing_again_with_the_same_model_records_nothing(ledger: Ledger) -> None:
    request_id = decided(ledger)
    for digest in ("aa", "aa", "bb"):
        ledger.mark_released([request_id, request_id], "r001", digest)
    assert [event.payload["model_digest"] for event in ledger.history(request_id)[3:]] == ["aa", "bb"]


def test_releasing_a_batch_is_all_or_nothing(ledger: Ledger) -> None:
    approved, waiting = decided(ledger), ledger.add(SELECTORS, "ccpa").request_id
    with pytest.raises(ExpungeError, match=f"{waiting} is received"):
        ledger.mark_released([approved, waiting], "r001", "aa")
    assert ledger.get(approved).state == "approved"


def test_a_decision_is_taken_once(ledger: Ledger) -> None:
    approved, rejected = decided(ledger), ledger.add(SELECTORS, "ccpa").request_id
    with pytest.raises(ExpungeError, match="reason"):
        ledger.reject(rejected, reason=" ")
    ledger.reject(rejected, reason="no proof of identity")
    for request_id in (approved, rejected):
        with pytest.raises(ExpungeError, match="only received or previewed requests can be approved"):
            ledger.approve(request_id)
        with pytest.raises(ExpungeError, match="can be rejected"):
            ledger.reject(request_id, reason="again")
    before = ledger.export_events()
    ledger.record_preview(approved, {"samples": 7})
    assert ledger.export_events() == before


def test_the_same_preview_is_recorded_once(ledger: Ledger) -> None:
    request_id = ledger.add(SELECTORS, "ccpa").request_id
    for samples in (6, 6, 7):
        ledger.record_preview(request_id, {"samples": samples})
    assert [event.payload for event in ledger.history(request_id)[1:]] == [{"samples": 6}, {"samples": 7}]


def test_unknown_request_is_named_with_what_there_is(ledger: Ledger) -> None:
    with pytest.raises(ExpungeError, match="no request req-0007; the ledger is empty"):
        ledger.get("req-0007")
    decided(ledger)
    with pytest.raises(ExpungeError, match="last one is req-0001"):
        ledger.approve("req-0007")


STEPS = {
    "previewed": lambda ledger, request_id, n: ledger.record_preview(request_id, {"samples": n}, by="a"),
    "approved": lambda ledger, request_id, _: ledger.approve(request_id, "a"),
    "rejected": lambda ledger, request_id, _: ledger.reject(request_id, "a", "because"),
    "withdrawn": lambda ledger, request_id, _: ledger.withdraw(request_id, "a", "because"),
    "released": lambda ledger, request_id, n: ledger.mark_released([request_id], f"r{n:03d}", "aa"),
    "purged": lambda ledger, request_id, n: ledger.mark_purged([request_id], "r001", "a", f"{n}"),
    "verified": lambda ledger, request_id, n: ledger.mark_verified([request_id], "r001", "a", f"{n}"),
}
RANK = {
    "received": 0,
    "previewed": 1,
    "approved": 2,
    "rejected": 3,
    "withdrawn": 3,
    "released": 3,
    "purged": 4,
    "verified": 5,
}


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    start=st.sampled_from([[], ["approved"], ["approved", "released"], ["approved", "released", "purged"]]),
    steps=st.lists(st.tuples(st.sampled_from(sorted(STEPS)), st.integers(1, 3)), max_size=8),
)
def test_state_only_moves_forward(tmp_path_factory, start, steps) -> None:
    ledger = Ledger.open(PARAMS, tmp_path_factory.mktemp("ledger"), clock=lambda: NOON)
    request_id = ledger.add(SELECTORS, "ccpa", by="a").request_id
    before = ledger.get(request_id)
    for kind, number in [(kind, 1) for kind in start] + steps:
        try:
            STEPS[kind](ledger, request_id, number)
        except ExpungeError:
            assert before.state not in FORWARD[kind]
        after = ledger.get(request_id)
        if len(after.events) == len(before.events):
            assert after == before
            continue
        assert (after.state, before.state in FORWARD[kind]) == (kind, True)
        # Only another model leads back to `released`.
        assert RANK[after.state] >= RANK[before.state] or after.release != before.release
        before = after
    ledger.verify_chain()


# --- the chain ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ("UPDATE events SET payload = replace(payload, 'apple', 'bird') WHERE seq = 1", "event 1 .*changed"),
        ("UPDATE events SET \"by\" = 'nobody' WHERE seq = 2", "event 2 .*changed"),
        ("UPDATE events SET at = '2020-01-01T00:00:00Z' WHERE seq = 3", "event 3 .*changed"),
        ("DELETE FROM events WHERE seq = 2", "event 3 .*missing"),
        ("UPDATE events SET payload = '{' WHERE seq = 2", "event 2: it is not readable"),
        ("UPDATE events SET kind = 'forgiven' WHERE seq = 3", "event 3: it is not readable"),
        (f"UPDATE events SET previous = '{'1' * 64}' WHERE seq = 3", "event 3 .*does not follow"),
    ],
)
def test_a_tampered_event_is_found_and_named(ledger: Ledger, tmp_path: Path, change: str, complaint: str) -> None:
    decided(ledger)
    with database(tmp_path) as connection:
        connection.execute(change)
    with pytest.raises(ExpungeError, match=complaint):
        ledger.verify_chain()


def forged(*contents: dict) -> list[Event]:
    """Events whose hashes are right, as a forger who knows the format would write them."""
    events: list[Event] = []
    for content in contents:
        given = {"request_id": "req-0001", "at": "2026-01-31T12:00:00Z", "by": "forger", **content}
        events.append(Event.after(events[-1] if events else None, **given))
    return events


def test_a_forged_story_is_refused_although_its_hashes_fit(ledger: Ledger) -> None:
    received = {"kind": "received", "payload": ledger.add(SELECTORS, "ccpa").model_dump(mode="json")}
    approved = {"kind": "approved", "payload": {"digest": ledger.get("req-0001").request.digest}}
    assert check_chain([]) == GENESIS
    check_chain(forged(received, approved))
    for story, complaint in [
        ([approved], "event 1 .*unknown cannot be approved"),
        ([received, received], "event 2 .*out of order"),
        ([received, {"kind": "approved", "payload": {"digest": "00"}}], "event 2 .*another content"),
        ([received, approved, approved], "event 3 .*approved cannot be approved"),
        ([received, {"kind": "released", "payload": {}}], "event 2 .*received cannot be released"),
        ([{"kind": "received", "payload": {"basis": "none"}}], "event 1 .*no valid request"),
    ]:
        with pytest.raises(ExpungeError, match=complaint):
            check_chain(forged(*story))


def test_a_request_changed_after_its_approval_is_not_served(ledger: Ledger, tmp_path: Path) -> None:
    decided(ledger)
    with database(tmp_path) as connection:
        connection.execute("UPDATE events SET payload = replace(payload, 'apple', 'bird') WHERE seq = 1")
    with pytest.raises(ExpungeError, match="req-0001 is not what was approved"):
        ledger.approved_unserved()


JSON_LEAVES = st.none() | st.booleans() | st.text(max_size=5) | st.floats(allow_nan=False, allow_infinity=False)


@settings(max_examples=50, deadline=None)
@given(
    payload=st.dictionaries(st.text(max_size=5), JSON_LEAVES),
    by=st.text(alphabet=string.printable, max_size=9),
)
def test_any_changed_field_breaks_an_events_seal(payload, by) -> None:
    event = Event.after(None, request_id="req-0001", kind="previewed", at="now", by=by, payload=payload)
    assert event.seal == event.hash
    assert Event.model_validate_json(event.model_dump_json()).seal == event.hash
    for change in ({"by": by + "x"}, {"payload": {**payload, "more": 1}}, {"seq": 2}, {"previous": "1" * 64}):
        assert event.model_copy(update=change).seal != event.hash


# --- the seed ----------------------------------------------------------------------------------------------------


def test_a_new_ledger_starts_from_the_seed_and_an_old_one_does_not(ledger: Ledger, tmp_path: Path) -> None:
    decided(ledger)
    lines = [canonical_json(event).decode() for event in ledger.export_events()]
    other = tmp_path / "other"
    other.mkdir()
    (other / "seed.jsonl").write_text("\n".join(lines) + "\n")
    first = Ledger.open(PARAMS, other)
    assert first.export_events() == ledger.export_events()
    first.add(SELECTORS, "ccpa")
    assert len(Ledger.open(PARAMS, other).export_events()) == len(lines) + 1


@pytest.mark.parametrize("damage", ["cut", "changed", "text"])
def test_a_damaged_seed_is_refused_as_a_whole(ledger: Ledger, tmp_path: Path, damage: str) -> None:
    decided(ledger)
    lines = [canonical_json(event).decode() for event in ledger.export_events()]
    seeds = {
        "cut": [lines[0], lines[2]],
        "changed": [lines[0], lines[1], lines[2].replace("officer", "forger")],
        "text": [lines[0], "and so on"],
    }
    other = tmp_path / "other"
    other.mkdir()
    (other / "seed.jsonl").write_text("\n".join(seeds[damage]))
    for _ in range(2):
        with pytest.raises(ExpungeError, match=r"seed\.jsonl"):
            Ledger.open(PARAMS, other)
    (other / "seed.jsonl").unlink()
    assert Ledger.open(PARAMS, other).export_events() == []


def test_the_demo_ships_two_approved_requests(tmp_path: Path) -> None:
    (tmp_path / "seed.jsonl").write_bytes((PROJECT / "requests" / "seed.jsonl").read_bytes())
    ledger = Ledger.open(PARAMS, tmp_path)
    ledger.verify_chain()
    first, second = ledger.approved_unserved()
    assert (first.basis, first.selectors[0].class_name) == ("copyright", "food-fruit")
    assert second.basis == "gdpr-art17"
    assert isinstance(second.selectors[0], IdSelector)
    assert len(second.selectors[0].ids) == 12
    assert {first.due, second.due} == {date(2026, 12, 2)}
    assert all(event["by"] == "demo-reviewer" for event in ledger.export_events())


# --- many writers, and a database in trouble ---------------------------------------------------------------------


def _add_many(root: Path, count: int) -> None:
    ledger = Ledger.open(PARAMS, root)
    for _ in range(count):
        ledger.add(SELECTORS, "ccpa", by="clerk")


def test_concurrent_writers_lose_no_request_and_share_no_id(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_add_many, args=(tmp_path, 25)) for _ in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join(60)
    assert [writer.exitcode for writer in writers] == [0] * 4
    ledger = Ledger.open(PARAMS, tmp_path)
    ids = [record.request.request_id for record in ledger.records()]
    assert ids == [f"req-{number:04d}" for number in range(1, 101)]
    ledger.verify_chain()


def test_a_taken_event_number_is_tried_again(ledger: Ledger, monkeypatch) -> None:
    """Where a database admits several writers at once, the loser reads the new tail and appends after it."""
    fresh, stale = journal.tail, [None]

    def first_out_of_date(connection: sa.Connection) -> Event | None:
        return stale.pop() if stale else fresh(connection)

    first = ledger.add(SELECTORS, "ccpa")
    monkeypatch.setattr(journal, "tail", first_out_of_date)
    second = ledger.add(SELECTORS, "ccpa")
    assert not stale
    assert (first.request_id, second.request_id) == ("req-0001", "req-0002")
    ledger.verify_chain()


def test_a_locked_ledger_is_one_sentence(ledger: Ledger, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(database_module, "BUSY_SECONDS", 0.05)
    impatient = Ledger.open(PARAMS, tmp_path)
    blocker = database(tmp_path)
    blocker.execute("BEGIN IMMEDIATE")
    with pytest.raises(ExpungeError, match="is busy"):
        impatient.add(SELECTORS, "ccpa")
    blocker.close()
    assert impatient.add(SELECTORS, "ccpa").request_id == "req-0001"


def test_a_full_disk_is_one_sentence_and_loses_nothing(ledger: Ledger) -> None:
    ledger.add(SELECTORS, "ccpa")

    @sa.event.listens_for(ledger._database.engine, "connect")
    def _shrink(connection: sqlite3.Connection, _: object) -> None:
        connection.execute("PRAGMA max_page_count = 1")

    with pytest.raises(ExpungeError, match=r"disk of the ledger .* is full"):
        ledger.add([{"kind": "where", "sql": "x" * 20_000}], "ccpa")
    assert len(ledger.records()) == 1
    ledger.verify_chain()


def test_a_file_that_is_no_database_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / "ledger.db").write_text("not a database, but long enough to be taken for one" * 99)
    with pytest.raises(ExpungeError, match="cannot be used: file is not a database"):
        Ledger.open(PARAMS, tmp_path)


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "data").write_text("in the way")
    with pytest.raises(ExpungeError, match="cannot be created"):
        Ledger.open(PARAMS, tmp_path)


@pytest.mark.parametrize(
    ("url", "complaint"),
    [
        ("sqlite://", "in memory"),
        ("nonsense", "not a database URL that can be used"),
        ("marsdb://me:secret@host/x", "not a database URL that can be used"),
    ],
)
def test_an_unusable_url_is_refused_without_its_password(tmp_path: Path, url: str, complaint: str) -> None:
    with pytest.raises(ExpungeError, match=complaint) as caught:
        Ledger.open(LedgerParams(url=url), tmp_path)
    assert "secret" not in str(caught.value)


def test_commits_reach_the_disk_before_they_are_acknowledged(ledger: Ledger) -> None:
    with ledger._database.engine.connect() as connection:
        assert connection.exec_driver_sql("PRAGMA synchronous").scalar_one() == 3
        assert connection.exec_driver_sql("PRAGMA journal_mode").scalar_one() == "delete"


def test_export_is_what_a_seed_holds(ledger: Ledger) -> None:
    decided(ledger)
    events = [Event(**json.loads(canonical_json(event))) for event in ledger.export_events()]
    assert check_chain(events) == ledger.verify_chain().hash


# --- the commands ------------------------------------------------------------------------------------------------


class Params:
    """The one block of params.yaml that these commands read."""

    ledger = PARAMS


@pytest.fixture
def project(tmp_path: Path, monkeypatch) -> Path:
    """A project folder with a catalog of 24 samples, as working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("expunge.intake.desk.load_params", lambda _: Params)
    make_catalog(tmp_path / "data" / "catalog", 24)
    return tmp_path


def expunge_request(*arguments: str) -> str:
    """The stdout of `expunge request …`; errors are raised as the command raises them."""
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_a_request_is_added_previewed_approved_and_listed_by_commands(project: Path) -> None:
    out = expunge_request("add", "--class", "apple", "--id", "sample:0001", "--basis", "ccpa", "--due", "2099-01-01")
    assert out.splitlines()[-1] == "req-0001"
    found = json.loads(expunge_request("preview", "req-0001", "--json"))
    assert (found["samples"], found["by_class"]) == (7, {"apple": 6, "bird": 1})
    assert found["near_duplicates"]["total"] is None
    assert "not available before" in expunge_request("preview", "req-0001")
    expunge_request("approve", "req-0001", "--by", "officer")
    record = json.loads(expunge_request("show", "req-0001", "--json"))
    assert (record["state"], record["due"], record["events"][-1]["by"]) == ("approved", "2099-01-01", "officer")
    assert [event["kind"] for event in record["events"]] == ["received", "previewed", "approved"]
    assert json.loads(expunge_request("list", "--json", "--state", "approved")) == [record]
    assert json.loads(expunge_request("list", "--json", "--state", "received")) == []
    assert "apple" in expunge_request("list")
    assert "officer" in expunge_request("show", "req-0001")


def test_a_request_is_rejected_with_its_reason(project: Path) -> None:
    expunge_request("add", "--where", "class = 'apple'", "--basis", "quality")
    expunge_request("reject", "req-0001", "--reason", "no [proof]", "--by", "officer")
    last = json.loads(expunge_request("show", "req-0001", "--json"))["events"][-1]
    assert (last["kind"], last["payload"]) == ("rejected", {"reason": "no [proof]"})
    assert "no [proof]" in expunge_request("show", "req-0001")


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["--class", "aple"], "the closest are 'apple'"),
        (["--id", "sample:9999"], "1 of 1 sample ids"),
        (["--where", "clas = 'apple'"], "no column 'clas'"),
        (["--where", "class = 'pear'"], "selects no sample"),
        (["--class", "apple", "--due", "2001-01-01"], "lies before"),
    ],
)
def test_a_request_that_cannot_be_meant_is_not_recorded(project: Path, arguments: list[str], complaint: str) -> None:
    with pytest.raises(ExpungeError, match=complaint):
        expunge_request("add", "--basis", "ccpa", *arguments)
    assert json.loads(expunge_request("list", "--json")) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["add", "--class", "apple"],
        ["add", "--basis", "ccpa"],
        ["add", "--basis", "whim", "--class", "apple"],
        ["add", "--basis", "ccpa", "--class", "apple", "--top", "3"],
        ["add", "--basis", "ccpa", "--text", "x", "--top", "3", "--min-score", "0.2"],
        ["add", "--basis", "ccpa", "--class", "apple", "--due", "soon"],
        ["reject", "req-0001"],
    ],
)
def test_wrong_usage_has_status_2(project: Path, arguments: list[str]) -> None:
    assert CliRunner().invoke(app, arguments).exit_code == 2


def test_a_text_request_asks_the_newest_finished_release(project: Path, monkeypatch) -> None:
    asked = []

    def scores(_: object, release: str, text: str) -> dict[str, float]:
        asked.append((release, text))
        return {f"sample:{number:04d}": number / 100 for number in range(24)}

    monkeypatch.setattr("expunge.embeddings.search.text_scores", scores)
    expunge_request("add", "--text", "red", "--text", "green", "--basis", "safety")
    assert asked == [("base", "red"), ("base", "green")]
    selectors = json.loads(expunge_request("show", "req-0001", "--json"))["selectors"]
    assert [(one["text"], one["top"]) for one in selectors] == [("red", DEFAULT_TOP), ("green", 10)]


def test_what_selects_everything_is_neither_recorded_nor_approved(project: Path) -> None:
    with pytest.raises(ExpungeError, match="would leave 0 of the catalog's training samples"):
        expunge_request("add", "--where", "true", "--basis", "quality")
    assert json.loads(expunge_request("list", "--json")) == []
    Ledger.open(LedgerParams(seed=None), project).add([{"kind": "where", "sql": "true"}], "quality")
    with pytest.raises(ExpungeError, match="would leave 0 of the catalog's training samples"):
        expunge_request("approve", "req-0001")
    assert json.loads(expunge_request("show", "req-0001", "--json"))["state"] == "received"


def test_nothing_is_recorded_without_a_catalog(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ExpungeError, match=r"catalog\.json is missing. Run `dvc repro`"):
        expunge_request("add", "--class", "apple", "--basis", "ccpa")
    assert not (tmp_path / "data").exists()
