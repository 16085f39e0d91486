"""Requests from files and through Prefect: recorded once, refused with a reason, and nobody's name is left behind."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from expunge.cli import request as app
from expunge.intake import folder as drop_folder
from expunge.intake import submissions as intake
from expunge.intake.desk import Desk
from expunge.intake.folder import import_path
from expunge.intake.submissions import read_submissions
from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.paths import Paths
from expunge.project.reading import read_plain
from expunge.requests.ledger import Ledger
from expunge.requests.settings import LedgerParams
from samples import make_catalog

pytestmark = pytest.mark.slow

PARAMS = LedgerParams(seed=None)
APPLE = {"kind": "class", "class_name": "apple"}
TICKET = {"external_reference": "T-1", "basis": "gdpr-art17", "selectors": [APPLE], "requester": "Erika Mustermann"}


class Params:
    """The one block of params.yaml that these commands read."""

    ledger = PARAMS


@pytest.fixture
def desk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Desk:
    """The desk of a project with a catalog of 24 samples, which is the working directory."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("expunge.intake.desk.load_params", lambda _: Params)
    make_catalog(tmp_path / "data" / "catalog", 24)
    return Desk(Paths())


@pytest.fixture
def drop(tmp_path: Path) -> Path:
    folder = tmp_path / "drop"
    folder.mkdir()
    return folder


def imported(desk: Desk, path: Path) -> list[drop_folder.Outcome]:
    return list(import_path(path, desk.ledger, desk.check, by="clerk"))


def files(folder: Path) -> set[str]:
    found = (path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())
    return {name for name in found if name != ".import.lock"}


def expunge_request(*arguments: str) -> tuple[int, str]:
    result = CliRunner().invoke(app, arguments)
    return result.exit_code, result.output


# --- files -------------------------------------------------------------------------------------------------------


def test_files_of_a_folder_become_requests_and_receipts(desk: Desk, drop: Path) -> None:
    (drop / "b.json").write_text(json.dumps([TICKET, TICKET | {"external_reference": "T-2", "due": "2099-01-01"}]))
    (drop / "a.csv").write_text(
        "\ufeffexternal_reference,basis,kind,value,min_score,requester\n"
        "C-1,ccpa,id,sample:0001,,max@example.org\n"
        "C-1,ccpa,class,bird,,max@example.org\n"
        "C-2,safety,where,class = 'car',,\n"
    )
    (drop / ".half-written.json").write_text("[{")
    (drop / "notes.txt").write_text("not for us")
    assert [(one.file, one.requests) for one in imported(desk, drop)] == [
        ("a.csv", ("req-0001", "req-0002")),
        ("b.json", ("req-0003", "req-0004")),
    ]
    first, _, third, fourth = (record.request for record in desk.ledger.records())
    assert [selector.kind for selector in first.selectors] == ["id", "class"]
    assert (third.external_reference, str(fourth.due)) == ("T-1", "2099-01-01")
    assert third.requester_digest == desk.ledger.digest_requester("erika  MUSTERMANN")
    kept = files(drop)
    assert {".half-written.json", "notes.txt"} < kept
    assert sorted(name.rsplit(".", 2)[0] for name in kept if name.startswith("done/")) == ["done/a.csv", "done/b.json"]
    everywhere = b"".join(path.read_bytes() for path in desk.paths.root.rglob("*") if path.is_file())
    assert b"Mustermann" not in everywhere
    assert b"max@" not in everywhere


CSV_HEAD = "external_reference,basis,kind,value,requester\n"


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("x.json", "[{", "not JSON"),
        ("x.json", "[" * 100_000, "nests too deep"),
        ("x.json", '{"basis": "ccpa", "basis": "safety"}', "same key twice"),
        ("x.json", "[]", "at least 1 item"),
        ("x.json", b"\xff\xfe", "not UTF-8"),
        ("x.json", json.dumps(TICKET | {"name": "Erika"}), "0.name: extra inputs are not permitted"),
        ("x.json", json.dumps({**TICKET, "external_reference": None}), "external_reference"),
        ("x.json", json.dumps({**TICKET, "selectors": [{"kind": "text", "text": "x", "top": "3"}]}), "top: input"),
        ("x.json", json.dumps({**TICKET, "requester_digest": "ab" * 32}), "either a requester or a requester_digest"),
        ("x.json", json.dumps({**TICKET, "requester": "Erika \u202e"}), "control character"),
        ("x.json", json.dumps({**TICKET, "selectors": [APPLE | {"class_name": "aple"}]}), "T-1: .*closest are 'apple'"),
        ("x.json", json.dumps([TICKET, TICKET | {"basis": "ccpa"}]), "T-1.* with another basis"),
        ("x.json", json.dumps([TICKET] * 1001), "at most 1000"),
        ("x.json", " " * (intake.MAX_BYTES + 1), "larger than 4 MiB"),
        ("x.csv", "", "must name the columns"),
        ("x.csv", "external_reference,basis,kind,value,name\nC-1,ccpa,class,apple,Erika\n", "must name the columns"),
        ("x.csv", CSV_HEAD + "C-1,ccpa,class\n", "Line 2 has another number of cells"),
        ("x.csv", CSV_HEAD + "C-1,ccpa,class,apple,A\nC-1,ccpa,class,bird,B\n", "Line 3: rows of one reference"),
        ("x.csv", CSV_HEAD + "C-1,ccpa,face,x,\n", "selectors"),
        ("x.csv", CSV_HEAD + 'C-1,ccpa,class,"app', "not CSV"),
    ],
)
def test_a_file_at_fault_is_refused_as_a_whole_with_its_reason(
    desk: Desk, drop: Path, name: str, content: str | bytes, reason: str
) -> None:
    given = content if isinstance(content, bytes) else content.encode()
    (drop / name).write_bytes(given)
    with pytest.raises(RequestRefused, match=reason):
        intake.receive(read_submissions(drop / name), desk.ledger, desk.check)
    [outcome] = imported(desk, drop)
    assert (outcome.requests, desk.ledger.records()) == ((), [])
    assert "Erika" not in outcome.reason
    [kept] = files(drop)
    assert kept.startswith(f"refused/{name}.")
    assert (drop / kept).read_text().startswith(outcome.reason)


def test_nothing_of_a_refused_file_is_left_but_its_reason(desk: Desk, drop: Path) -> None:
    person = {"requester": "Erika Mustermann, 1 Main Street", "note": "call at the back door"}
    (drop / "x.json").write_text(json.dumps(TICKET | person | {"basis": "because"}))
    (drop / "y.csv").write_text(f"{CSV_HEAD}C-1,because,class,apple,Erika Mustermann\n")
    for outcome in imported(desk, drop):
        assert "basis" in outcome.reason
    everywhere = b"".join(path.read_bytes() for path in desk.paths.root.rglob("*") if path.is_file())
    for secret in (b"Mustermann", b"Main Street", b"back door"):
        assert secret not in everywhere
    assert len(files(drop)) == 2


def test_a_refused_file_does_not_replace_an_earlier_one(desk: Desk, drop: Path) -> None:
    for content in ("[1", "[2"):
        (drop / "x.json").write_text(content)
        imported(desk, drop)
    assert len(files(drop)) == 2


@pytest.mark.parametrize("content", [json.dumps(TICKET), "[{"])
def test_a_name_as_long_as_the_system_allows_holds_up_nothing(desk: Desk, drop: Path, content: str) -> None:
    (drop / ("é" * 125 + ".json")).write_text(content)
    (drop / "é.json").write_text(json.dumps(TICKET | {"external_reference": "T-2"}))
    assert len(imported(desk, drop)) == 2
    assert all(kept.startswith(("done/", "refused/")) for kept in files(drop))
    assert imported(desk, drop) == []


@pytest.mark.parametrize("name", ["done", "refused", ".import.lock"])
@pytest.mark.parametrize("kind", ["file", "link to a folder", "link to a file", "dangling link", "folder"])
def test_what_stands_in_the_place_of_the_folders_own_things_is_moved_aside(
    desk: Desk, drop: Path, name: str, kind: str
) -> None:
    outside = desk.paths.root / "outside"
    outside.mkdir()
    (outside / "precious").write_text("precious")
    if kind == "file":
        (drop / name).write_text("in the way")
    elif kind == "folder":
        (drop / name).mkdir()
    else:
        target = {"link to a folder": outside, "link to a file": outside / "precious"}.get(kind, outside / "new")
        (drop / name).symlink_to(target)
    (drop / "a.json").write_text(json.dumps(TICKET))
    (drop / "b.json").write_text("[{")
    assert [one.requests for one in imported(desk, drop)] == [("req-0001",), ()]
    assert [(path.name, path.read_text()) for path in outside.iterdir()] == [("precious", "precious")]
    assert len(list((drop / "done").iterdir())) == len(list((drop / "refused").iterdir())) == 1


def test_a_submission_cannot_say_what_an_example_was_found_to_be_like(desk: Desk, drop: Path) -> None:
    found = [{"sample_id": "sample:0003", "reason": "because I say so", "score": 1.0}]
    selector = {"kind": "image", "example": "ab" * 32, "min_score": 0.9, "found": found}
    (drop / "x.json").write_text(json.dumps(TICKET | {"selectors": [selector]}))
    [outcome] = imported(desk, drop)
    assert "command line only" in outcome.reason
    assert desk.ledger.records() == []


def test_a_pipe_in_the_drop_folder_is_not_waited_for(desk: Desk, drop: Path) -> None:
    os.mkfifo(drop / "x.json")
    assert imported(desk, drop) == []
    with pytest.raises(ExpungeError, match="not an ordinary file"):
        read_plain(drop / "x.json", 10)


@pytest.mark.parametrize("text", ["T-1\nreq-0002 approved", "T\x1b[2J", "T\u2028x", "T\u202ex", "T\x9b31m"])
def test_what_people_write_is_one_line_without_escapes(desk: Desk, drop: Path, text: str) -> None:
    for number, field in enumerate(({"external_reference": text}, {"note": text})):
        (drop / f"{number}.json").write_text(json.dumps(TICKET | field))
    assert [one.requests for one in imported(desk, drop)] == [(), ()]
    (drop / "x.json").write_text(json.dumps(TICKET))
    [one] = import_path(drop, desk.ledger, desk.check, by=text)
    assert "one line of plain text" in one.reason
    request = desk.ledger.add([APPLE], "ccpa")
    for decide in (desk.ledger.reject, desk.ledger.withdraw):
        with pytest.raises(RequestRefused, match="one line of plain text"):
            decide(request.request_id, "clerk", text)
    with pytest.raises(RequestRefused, match="one line of plain text"):
        desk.ledger.approve(request.request_id, text)
    assert desk.ledger.get(request.request_id).state == "received"


def test_who_recorded_a_request_does_not_approve_it_where_four_eyes_are_asked_for(desk: Desk) -> None:
    ledger = Ledger.open(LedgerParams(seed=None, four_eyes=True), desk.paths.root)
    request = ledger.add([APPLE], "ccpa", by="Ada")
    with pytest.raises(ExpungeError, match="somebody else"):
        ledger.approve(request.request_id, " ADA ")
    ledger.approve(request.request_id, "Grace")
    assert ledger.get(request.request_id).state == "approved"


@pytest.mark.parametrize("crash", ["before the receipt", "before the file goes"])
def test_a_crash_after_the_ledger_was_written_loses_and_doubles_nothing(
    desk: Desk, drop: Path, monkeypatch: pytest.MonkeyPatch, crash: str
) -> None:
    (drop / "x.json").write_text(json.dumps(TICKET))
    unlink = Path.unlink

    def killed(path: Path, *arguments: object, **options: object) -> None:
        if crash == "before the receipt" or path.name == "x.json":
            raise KeyboardInterrupt
        unlink(path, *arguments, **options)

    with monkeypatch.context() as patch:
        where = (drop_folder, "write_json") if crash == "before the receipt" else (Path, "unlink")
        patch.setattr(*where, killed)
        with pytest.raises(KeyboardInterrupt):
            imported(desk, drop)
    assert (drop / "x.json").is_file()
    assert len(desk.ledger.records()) == 1
    [outcome] = imported(desk, drop)
    assert (outcome.requests, len(desk.ledger.records())) == (("req-0001",), 1)
    assert [name.split(".")[0] for name in files(drop)] == ["done/x"]


def test_a_ledger_in_trouble_leaves_the_files_where_they_are(
    desk: Desk, drop: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (drop / "x.json").write_text(json.dumps(TICKET))

    def busy(*_: object) -> None:
        raise ExpungeError("The ledger is busy.")

    with monkeypatch.context() as patch:
        patch.setattr(Ledger, "add_all", busy)
        with pytest.raises(ExpungeError, match="busy"):
            imported(desk, drop)
    assert files(drop) == {"x.json"}
    (desk.paths.catalog / "catalog.json").rename(desk.paths.catalog / "gone")
    with pytest.raises(ExpungeError, match="dvc repro"):
        imported(Desk(Paths()), drop)
    assert files(drop) == {"x.json"}


def test_a_link_out_of_the_folder_is_not_followed(desk: Desk, drop: Path) -> None:
    (desk.paths.root / "elsewhere.json").write_text(json.dumps(TICKET))
    (drop / "x.json").symlink_to(desk.paths.root / "elsewhere.json")
    assert imported(desk, drop) == []
    with pytest.raises(ExpungeError, match="neither a folder nor"):
        imported(desk, drop / "x.json")


# --- commands ----------------------------------------------------------------------------------------------------


def test_import_reads_the_drop_folder_and_says_with_its_status_that_something_was_refused(
    desk: Desk,
) -> None:
    assert expunge_request("import") == (0, "")
    drop = desk.paths.root / PARAMS.drop_folder
    (drop / "good.json").write_text(json.dumps(TICKET))
    assert expunge_request("import") == (0, "good.json: req-0001\n")
    (drop / "bad.json").write_text("{}")
    status, out = expunge_request("import")
    assert status == 1
    assert "bad.json: Submissions: 0.external_reference: field required" in out


def test_the_same_reference_on_the_command_line_gives_the_same_id(desk: Desk) -> None:
    arguments = ("add", "--class", "apple", "--basis", "ccpa", "--reference", "T-9", "--requester", "Erika")
    for _ in range(2):
        assert expunge_request(*arguments)[1].splitlines()[-1] == "req-0001"
    digest = json.loads(expunge_request("show", "req-0001", "--json")[1])["requester_digest"]
    assert expunge_request("digest", " ERIKA ") == (0, f"{digest}\n")
    with pytest.raises(RequestRefused, match="'T-9' names req-0001 already, with another selectors"):
        CliRunner().invoke(app, [*arguments, "--id", "sample:0001"], catch_exceptions=False)


def test_a_request_is_withdrawn_on_the_command_line(desk: Desk) -> None:
    expunge_request("add", "--class", "apple", "--basis", "ccpa")
    expunge_request("approve", "req-0001")
    assert expunge_request("withdraw", "req-0001")[0] == 2
    assert expunge_request("withdraw", "req-0001", "--reason", "asked to stay")[0] == 0
    assert "asked to stay" in expunge_request("show", "req-0001")[1]
    assert json.loads(expunge_request("list", "--json", "--state", "withdrawn")[1])[0]["days_left"] is None


# --- Prefect -----------------------------------------------------------------------------------------------------


def test_the_intake_flow_records_once_and_refuses_in_words(desk: Desk, prefect_server: None) -> None:
    from flows.intake import requests

    asked = {"external_reference": "T-1", "selectors": [APPLE], "basis": "gdpr-art17"}
    assert requests(**asked) == requests(**asked) == "req-0001"
    assert desk.ledger.get("req-0001").events[0].by == "intake"
    state = requests(**asked | {"external_reference": "T-2", "requester_digest": "Erika"}, return_state=True)
    assert state.is_failed()
    assert "Erika" not in state.message
    assert "string should match pattern" in state.message
    assert len(desk.ledger.records()) == 1
