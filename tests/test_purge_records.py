"""What others have recorded of a request goes with a purge: Prefect's rows and results, receipts, refused files."""

from __future__ import annotations

import json
import os
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, write_json
from expunge.project.paths import Paths
from expunge.purge import prefect, receipts
from expunge.purge.scan import Searcher
from expunge.purge.traces import Trace

SECRET = "SECRET-1F34E"
SEARCHER = Searcher([Trace("sample id", SECRET.encode(), True, 0), Trace("caption", b"crimson apple", False, 0)])


def asked(sample_id: str) -> dict:
    return {"external_reference": "T-1", "selectors": [{"kind": "id", "ids": [sample_id]}]}


@pytest.fixture
def home(tmp_path: Path) -> Path:
    """The project's own Prefect home with Prefect's own tables, and one flow run for each of two requests."""
    home = Paths(tmp_path).prefect_home
    home.mkdir(parents=True)
    environment = os.environ | {"PREFECT_HOME": str(home)}
    upgrade = [sys.executable, "-m", "prefect", "server", "database", "upgrade", "--yes"]
    subprocess.run(upgrade, env=environment, check=True, capture_output=True)
    with closing(sqlite3.connect(home / prefect.DATABASE)) as connection:
        connection.execute("INSERT INTO flow (id, name) VALUES ('flow-1', 'intake')")
        for run, sample_id in (("run-1", SECRET), ("run-2", "1F604")):
            connection.execute(
                "INSERT INTO flow_run (id, name, flow_id, parameters) VALUES (?, ?, 'flow-1', ?)",
                [run, run, json.dumps(asked(sample_id))],
            )
            connection.execute(
                "INSERT INTO log (id, name, level, flow_run_id, message, timestamp) VALUES (?, 'x', 20, ?, ?, ?)",
                [f"log-{run}", run, f"recorded {sample_id},", "2026-11-02 09:00:00"],
            )
        connection.commit()
    return home


def rows(home: Path, table: str) -> list[str]:
    with closing(sqlite3.connect(home / prefect.DATABASE)) as connection:
        return [row for (row,) in connection.execute(f"SELECT id FROM {table} ORDER BY id")]


@pytest.mark.slow
def test_prefects_rows_and_results_that_name_what_is_forgotten_go_and_the_others_stay(
    home: Path, tmp_path: Path
) -> None:
    for name, sample_id in (("a", SECRET), ("b", "1F604")):
        (home / "storage").mkdir(exist_ok=True)
        (home / "storage" / name).write_text(json.dumps({"selected": [sample_id]}))
    database = home / prefect.DATABASE
    assert SECRET.encode() in database.read_bytes()
    prefect.clean(Paths(tmp_path), SEARCHER)
    assert (rows(home, "flow_run"), rows(home, "log")) == (["run-2"], ["log-run-2"])
    assert rows(home, "flow") == ["flow-1"]
    assert [path.name for path in (home / "storage").iterdir()] == ["b"]
    for path in home.glob(f"{prefect.DATABASE}*"):
        assert SECRET.encode() not in path.read_bytes(), path
    prefect.clean(Paths(tmp_path), SEARCHER)
    assert rows(home, "flow_run") == ["run-2"]


def test_a_prefect_database_that_is_damaged_or_kept_locked_is_one_sentence(tmp_path: Path, monkeypatch) -> None:
    database = tmp_path / prefect.DATABASE
    database.write_bytes(b"not a database, but long enough to be taken for one" * 20)
    with pytest.raises(ExpungeError, match="Stop its server and run the purge again"):
        prefect.scrub(database, SEARCHER)
    database.unlink()
    monkeypatch.setattr(prefect, "BUSY_SECONDS", 0.1)
    with closing(sqlite3.connect(database)) as connection:
        connection.execute("CREATE TABLE flow_run (id TEXT, parameters TEXT)")
        connection.execute("INSERT INTO flow_run VALUES ('run-1', ?)", [json.dumps(asked(SECRET))])
        connection.commit()
        connection.execute("BEGIN EXCLUSIVE")
        with pytest.raises(ExpungeError, match="locked"):
            prefect.scrub(database, SEARCHER)


def test_a_prefect_home_that_other_projects_share_is_named_and_keeps_its_rows(tmp_path: Path, monkeypatch) -> None:
    home, project = tmp_path / "home", tmp_path / "project"
    home.mkdir()
    project.mkdir()
    with closing(sqlite3.connect(home / prefect.DATABASE)) as connection:
        connection.execute("CREATE TABLE flow_run (id TEXT, parameters TEXT)")
        connection.execute("INSERT INTO flow_run VALUES ('run-1', ?)", [json.dumps(asked(SECRET))])
        connection.commit()
    monkeypatch.setenv("PREFECT_HOME", str(home))
    prefect.clean(Paths(project), SEARCHER)
    assert rows(home, "flow_run") == ["run-1"]
    assert prefect.shared_home(Paths(project)) == home.resolve()


def test_receipts_are_shortened_to_ids_and_digests_and_refused_files_go(tmp_path: Path) -> None:
    done, refused = tmp_path / "done", tmp_path / "refused"
    kept = asked("1F604") | {"request_id": "req-0002"}
    write_json(done / "x.json", [asked(SECRET) | {"request_id": "req-0001", "note": "crimson apple"}, kept])
    write_json(done / "y.json", [kept])
    (done / "broken.json").write_text('[{"request_id"')
    refused.mkdir()
    (refused / "x.json").write_text(json.dumps(asked(SECRET)))
    (refused / "y.json.reason.txt").write_text("the id '1F604' is unknown")
    (refused / "z.json.reason.txt").write_text(f"the id '{SECRET}' is unknown")
    before = (done / "y.json").read_bytes()
    receipts.clean(tmp_path, SEARCHER)
    first, second = read_json(done / "x.json")
    assert (first["request_id"], first["external_reference"], first["forgotten"]) == ("req-0001", "T-1", True)
    assert second == kept
    assert (done / "y.json").read_bytes() == before
    assert sorted(path.name for path in refused.iterdir()) == [
        "x.json.reason.txt",
        "y.json.reason.txt",
        "z.json.reason.txt",
    ]
    assert not any(SECRET in path.read_text() or "crimson" in path.read_text() for path in tmp_path.rglob("*.*"))
    again = {path: path.read_bytes() for path in tmp_path.rglob("*.*")}
    receipts.clean(tmp_path, SEARCHER)
    assert {path: path.read_bytes() for path in tmp_path.rglob("*.*")} == again
