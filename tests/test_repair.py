"""Nothing gets stuck, nothing is lost unnoticed: heads, verification of the project, repair, backup and restore."""

from __future__ import annotations

import os
import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest
import yaml

from certified import LEDGER, certified_project, certify
from expunge.near_duplicates import suppression
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, write_bytes, write_json
from expunge.project.paths import Paths
from expunge.proof.project import verify_project
from expunge.releases.cut import create_release
from expunge.repair import backup as backups
from expunge.repair.state import Site
from expunge.repair.states import blocking
from expunge.requests.events import Event
from expunge.requests.ledger import Ledger
from expunge.requests.settings import LedgerParams
from fake_release import SECRET_IDS, params_of
from postgres import postgres_server

pytestmark = pytest.mark.slow

SELECTORS = [{"kind": "class", "class_name": "face-smiling"}]
PASSPHRASE = "correct horse battery staple"


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Site:
    """A certified release whose forgotten samples are listed, and a request that waits."""
    paths, params = certified_project(tmp_path_factory.mktemp("whole"))
    suppression.record_ids(paths, SECRET_IDS)  # by ids alone: pictures need torch, which takes its time
    ledger = Ledger.open(LEDGER, paths.root)
    waiting = ledger.add(SELECTORS, "safety", reference="T-1", by="tests")
    ledger.approve(waiting.request_id, "Ada")
    return Site(paths, params)


@pytest.fixture
def site(whole: Site, tmp_path: Path) -> Site:
    return Site(Paths(shutil.copytree(whole.paths.root, tmp_path / "project")), whole.params)


def ledger_of(site: Site) -> Ledger:
    return Ledger.open(site.params.ledger, site.paths.root)


def database(site: Site) -> Path:
    return site.paths.root / "data" / "ledger.db"


def sql(site: Site, *statements: str) -> None:
    with closing(sqlite3.connect(database(site))) as connection:
        for statement in statements:
            connection.execute(statement)
        connection.commit()


def problems(site: Site) -> list[str]:
    found = verify_project(site.paths, site.params).problems
    return [f"{check.where} {check.what} {check.found}" for check in found]


def mend(site: Site) -> list[str]:
    return [state.mend("Ada") for state in blocking(site) if state.mend]


def subjects(site: Site) -> list[str]:
    return [state.subject for state in blocking(site)]


# --- the tail of the ledger --------------------------------------------------------------------------------------


def test_a_whole_project_verifies_and_nothing_blocks_it(site: Site) -> None:
    assert problems(site) == []
    assert subjects(site) == []


def rewritten(site: Site) -> None:
    """Another approver for the request that waits, with hashes that fit."""
    events = ledger_of(site).events()
    content = events[-1].model_dump(exclude={"seq", "previous", "hash"}) | {"by": "Eve"}
    forged = Event.after(events[-2], **content)
    sql(site, f"UPDATE events SET \"by\" = 'Eve', hash = '{forged.hash}' WHERE seq = {forged.seq}")


TAMPERED = {
    "last event deleted": lambda site: sql(site, "DELETE FROM events WHERE seq = (SELECT max(seq) FROM events)"),
    "back to just after the release": lambda site: sql(site, "DELETE FROM events WHERE seq > 6"),
    "a waiting request rewritten": rewritten,
    "head in the database deleted": lambda site: sql(site, "DELETE FROM ledger_head"),
    "head in the file deleted": lambda site: site.paths.ledger_head.unlink(),
    "database deleted": lambda site: database(site).unlink(),
    "all rows deleted": lambda site: sql(site, "DELETE FROM events", "DELETE FROM ledger_head"),
}


@pytest.mark.parametrize("how", TAMPERED)
def test_a_tampered_tail_is_named_refuses_events_and_is_mended_without_losing_what_was_served(
    site: Site, how: str
) -> None:
    TAMPERED[how](site)
    assert any("ledger" in problem for problem in problems(site))
    with pytest.raises(ExpungeError, match=r"expunge restore FILE.*expunge repair"):
        ledger_of(site).add(SELECTORS, "safety", by="tests")
    assert subjects(site)[0] == "ledger"
    mend(site)
    assert subjects(site) == []
    assert problems(site) == []
    records = {record.request.request_id: record for record in ledger_of(site).records()}
    assert [records[name].release for name in ("req-0001", "req-0002")] == ["r001", "r001"]
    assert ledger_of(site).verify_chain().sealings[-1].by == "Ada"


def test_an_older_database_put_back_is_named(site: Site) -> None:
    shutil.copy(database(site), older := site.paths.root / "older.db")
    ledger_of(site).add(SELECTORS, "safety", by="tests")
    shutil.move(older, database(site))
    assert any("rolled back" in problem for problem in problems(site))


def test_an_older_database_with_its_older_head_is_found_by_what_certificates_name(site: Site, tmp_path: Path) -> None:
    ledger = ledger_of(site)
    aside = [shutil.copy(path, tmp_path / path.name) for path in (database(site), site.paths.ledger_head)]
    ledger.mark_purged(["req-0001", "req-0002"], "r001", "tests", "0" * 64)
    certify(site.paths, site.params, "r001")
    for path, target in zip(aside, (database(site), site.paths.ledger_head), strict=True):
        shutil.copy(path, target)
    assert any("event named by the certificate of r001" in problem for problem in problems(site))


def test_a_kill_between_database_and_file_leaves_a_ledger_that_goes_on(site: Site, monkeypatch) -> None:
    ledger = ledger_of(site)
    before = site.paths.ledger_head.read_bytes()
    ledger.add(SELECTORS, "safety", by="tests")
    site.paths.ledger_head.write_bytes(before)
    assert problems(site) == []
    assert ledger_of(site).add(SELECTORS, "safety", by="tests").request_id == "req-0005"


def test_the_tail_is_protected_on_postgresql_too(tmp_path: Path) -> None:
    import psycopg

    with postgres_server() as server:
        url = server.database()
        ledger = Ledger.open(LedgerParams(url=url, seed=None), tmp_path)
        for _ in range(3):
            ledger.add(SELECTORS, "safety", by="tests")
        ledger.verify_chain()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DELETE FROM events WHERE seq = 3")
        with pytest.raises(ExpungeError, match="cut off"):
            ledger.verify_chain()
        with psycopg.connect(url, autocommit=True) as connection:
            connection.execute("DROP TABLE events, ledger_head")
        with pytest.raises(ExpungeError, match="is gone"):
            Ledger.open(LedgerParams(url=url, seed=None), tmp_path)


def test_a_lost_key_is_not_replaced_by_a_new_one(site: Site) -> None:
    site.paths.key.unlink()
    with pytest.raises(ExpungeError, match=r"key .* is gone"):
        ledger_of(site).verify_chain()
    assert not site.paths.key.exists()


def test_a_reference_stays_known_whatever_else_the_database_loses(site: Site) -> None:
    again = ledger_of(site).add(SELECTORS, "safety", reference="T-1", by="tests")
    assert again.request_id == "req-0003"
    ledger_of(site).add(SELECTORS, "safety", reference="t-1", by="tests", note='"external_reference":"T-9"')
    assert ledger_of(site).known_references(["T-1", "t-1", "T-9"]) == {"T-1": "req-0003", "t-1": "req-0004"}


# --- what must not come back -------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["emptied", "deleted", "shortened", "head deleted", "both deleted"])
def test_a_suppression_list_that_was_touched_is_named_and_made_again(site: Site, how: str) -> None:
    paths = site.paths
    before = paths.suppression.read_bytes()
    if how in ("deleted", "both deleted"):
        paths.suppression.unlink()
    if how in ("head deleted", "both deleted"):
        paths.suppression_head.unlink()
    if how == "emptied":
        paths.suppression.write_bytes(b"")
    if how == "shortened":
        paths.suppression.write_bytes(b"\n".join(before.splitlines()[:-1]) + b"\n")
    assert any("suppression" in problem for problem in problems(site))
    assert subjects(site) == ["suppression list"]
    mend(site)
    assert (problems(site), subjects(site)) == ([], [])
    assert suppression.keeps_out(paths, SECRET_IDS) == []


# --- releases ----------------------------------------------------------------------------------------------------


def test_a_failed_release_is_named_first_everywhere_and_ended(site: Site, monkeypatch) -> None:
    from typer.testing import CliRunner

    from expunge.cli import app
    from expunge.commands import releases as commands
    from expunge.proof.audit import Audited, audit
    from expunge.repair.states import AUDIT

    request = ledger_of(site).approved_unserved()[0]
    create_release(site.paths, [request], "x", gold=False)
    assert subjects(site) == ["r002"]
    assert blocking(site)[0].command == "expunge release"
    failed = read_json(site.paths.release("r001").registration) | {"release": "r002", "verdict": "failed"}
    write_json(site.paths.release("r002").registration, failed)
    (state,) = blocking(site)
    assert "req-0003" in state.problem
    assert state.command == "expunge repair"
    finding = audit(Audited(site.paths, site.params, ledger_of(site)), AUDIT)[0]
    assert (finding.subject, "`expunge repair` ends it" in finding.problem) == ("r002", True)
    monkeypatch.chdir(site.paths.root)
    monkeypatch.setattr(commands, "load_params", lambda _: site.params)
    shown = CliRunner().invoke(app, ["status"])
    assert shown.stdout.startswith("! r002: It failed its gate"), (shown.output, shown.exception)
    mend(site)
    assert subjects(site) == []
    assert yaml.safe_load(site.paths.live.read_text()) == {"live": "r001"}
    assert ledger_of(site).get("req-0003").state == "approved"


def test_an_unreadable_receipt_a_dead_lock_and_a_purge_that_never_began_are_listed_and_removed(site: Site) -> None:
    root = site.paths.root
    receipt = root / "data" / "requests" / "done" / "T.json.0.json"
    write_bytes(receipt, b'[{"request_id"')
    lock = root / ".dvc" / "tmp" / "rwlock"
    write_json(lock, {"write": {"x": {"pid": 2**22 + 1, "cmd": "dvc"}}, "read": {}})
    (site.paths.purges / "r001").mkdir(parents=True)
    assert subjects(site) == ["r001", "data/requests/done/T.json.0.json", ".dvc/tmp/rwlock"]
    mend(site)
    assert subjects(site) == []
    write_json(lock, {"write": {"x": {"pid": os.getpid(), "cmd": "dvc"}}, "read": {}})
    assert subjects(site) == []


# --- verification of the project ---------------------------------------------------------------------------------


@pytest.mark.parametrize("kind", ["hidden", "link"])
def test_a_hidden_file_or_a_link_among_a_models_files_is_found(site: Site, kind: str) -> None:
    stranger = site.paths.release("r001").model / ".extra"
    stranger.write_bytes(b"x") if kind == "hidden" else stranger.symlink_to("/etc/hostname")
    assert any("models/r001/.extra" in problem for problem in problems(site))


def test_a_flip_in_the_base_models_files_is_found_without_naming_a_release(site: Site) -> None:
    path = site.paths.release("base").metrics
    content = bytearray(path.read_bytes())
    content[40] ^= 1
    path.write_bytes(bytes(content))
    assert any("reports/base/metrics.json" in problem for problem in problems(site))


def test_what_people_edit_is_named_as_changed_and_is_no_failure(site: Site) -> None:
    site.paths.params.write_text("seed: 0\n")
    certify(site.paths, site.params, "r001")
    site.paths.params.write_text("seed: 1\n")
    found = verify_project(site.paths, site.params)
    assert found.problems == []
    assert [check.where for check in found.changes] == ["params.yaml"]


def test_a_gate_that_was_set_looser_than_shipped_stands_in_the_certificate_and_on_its_page(tmp_path: Path) -> None:
    from expunge.evaluation.settings import GateParams
    from expunge.proof.coverage import limits

    loose = params_of(tmp_path, gate=GateParams(spreads=9.0))
    assert limits(loose)["looser"] == ["spreads"]
    paths, params = certified_project(tmp_path / "project")
    certify(paths, params.model_copy(update={"gate": GateParams(spreads=9.0)}), "r001")
    assert "spreads 9.0 instead of 3.5" in paths.release("r001").certificate_page.read_text()


# --- backup and restore ------------------------------------------------------------------------------------------


@pytest.fixture
def saved(site: Site, tmp_path: Path) -> Path:
    backups.backup(site, tmp_path / "backup.expunge", PASSPHRASE)
    return tmp_path / "backup.expunge"


def test_a_backup_holds_nothing_in_clear_and_opens_with_its_passphrase_only(site: Site, saved: Path) -> None:
    content = saved.read_bytes()
    assert site.paths.key.read_bytes().strip() not in content
    assert b"req-0001" not in content
    for wrong in ("wrong horse battery staple", PASSPHRASE + " "):
        with pytest.raises(ExpungeError, match="cannot be opened"):
            backups.restore(site, saved, wrong, "Ada")
    saved.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(ExpungeError, match="cannot be opened"):
        backups.restore(site, saved, PASSPHRASE, "Ada")
    with pytest.raises(ExpungeError, match="too short"):
        backups.backup(site, saved, "short")


def test_drill_everything_is_lost_and_what_was_served_after_the_backup_stays_served(site: Site, saved: Path) -> None:
    from fake_release import make_release

    paths = site.paths
    ledger = ledger_of(site)
    # After the backup: two requests come in through the intake, one is served by a release of its own.
    late = [ledger.add([{"kind": "id", "ids": [name]}], "gdpr-art17", by="tests") for name in SECRET_IDS]
    for request in late:
        ledger.approve(request.request_id, "tests")
    make_release(paths, "r002", "r001", [request.request_id for request in late])
    description = yaml.safe_load(paths.release("r002").description.read_text())
    description["requests"] = [request.model_dump(mode="json") for request in late]
    paths.release("r002").description.write_text(yaml.safe_dump(description))
    model = paths.release("r002").model / "model.safetensors"
    from expunge.project.files import sha256_file

    ledger.mark_released([request.request_id for request in late], "r002", sha256_file(model))
    paths.live.write_text("live: r002\n")
    suppression.record_ids(paths, SECRET_IDS)
    certify(paths, site.params, "r002")
    acknowledged = ledger.add(SELECTORS, "safety", reference="T-9", by="tests")
    receipt = paths.root / "data" / "requests" / "done" / "T-9.json.1.json"
    write_json(receipt, [acknowledged.model_dump(mode="json")])
    # The disk with the ledger, the keys and the list is gone.
    database(site).unlink()
    shutil.rmtree(paths.root / ".expunge")
    paths.suppression.unlink()
    notes = backups.restore(site, saved, PASSPHRASE, "Ada")
    assert any("req-0004 is released with r002 again" in note for note in notes)
    records = {record.request.request_id: record for record in ledger_of(site).records()}
    assert [records[f"req-000{number}"].release for number in range(1, 6)] == ["r001", "r001", None, "r002", "r002"]
    assert records["req-0003"].state == "approved"
    assert (records["req-0006"].state, records["req-0006"].request) == ("received", acknowledged)
    assert suppression.keeps_out(paths, SECRET_IDS) == []
    assert (problems(site), subjects(site)) == ([], [])
    again = backups.restore(site, saved, PASSPHRASE, "Ada")
    assert again == []


def test_a_backup_of_another_project_or_of_a_broken_ledger_is_refused(site: Site, saved: Path, tmp_path: Path) -> None:
    paths, params = certified_project(tmp_path / "other")
    with pytest.raises(ExpungeError, match="another key"):
        backups.restore(Site(paths, params), saved, PASSPHRASE, "Ada")
    sql(site, "DELETE FROM events WHERE seq = 8")
    with pytest.raises(ExpungeError, match="cannot be trusted"):
        backups.backup(site, tmp_path / "second", PASSPHRASE)
    assert not (tmp_path / "second").exists()


def test_a_list_that_cannot_be_made_again_comes_back_and_an_id_alone_is_kept_out(site: Site, saved: Path) -> None:
    from expunge.purge.rows import remove_rows

    remove_rows(site.paths.catalog, set(SECRET_IDS), None)
    site.paths.suppression.unlink()
    site.paths.suppression_head.unlink()
    assert suppression.keeps_out(site.paths, SECRET_IDS) == sorted(SECRET_IDS)
    (state,) = [state for state in blocking(site) if state.subject == "suppression list"]
    assert (state.command, state.mend) == ("expunge restore FILE", None)
    backups.restore(site, saved, PASSPHRASE, "Ada")
    assert suppression.keeps_out(site.paths, [*SECRET_IDS, "later"]) == ["later"]
    suppression.record_ids(site.paths, ["later"])
    assert suppression.keeps_out(site.paths, [*SECRET_IDS, "later"]) == []
