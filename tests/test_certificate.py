"""A certificate says what happened, failures included, and nothing of what was forgotten; only its key can sign it."""

from __future__ import annotations

import base64
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from certified import certified_project, certify, purged
from expunge.lineage.digests import weights
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file, write_json
from expunge.project.paths import Paths
from expunge.proof.certificate import issue
from expunge.proof.settings import CertificateParams
from expunge.proof.signing import KEY_VARIABLE, create_keys, read_signed, sign, signing_key, trusted_key
from expunge.releases.registration import registered
from expunge.settings import Params

pytestmark = pytest.mark.slow

Project = tuple[Paths, Params]


@pytest.fixture(autouse=True)
def _no_key_in_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(KEY_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    return certified_project(tmp_path_factory.mktemp("certified"))


def statement(project: Project, name: str = "r001", request: str | None = None) -> dict:
    paths, params = project
    where = paths.release(name)
    path = where.request_certificates / f"{request}.json" if request else where.certificate
    return read_signed(path, trusted_key(paths, params.certificate))


def test_a_certificate_is_an_in_toto_statement_in_a_dsse_envelope(project: Project) -> None:
    envelope = read_json(project[0].release("r001").certificate)
    assert envelope["payloadType"] == "application/vnd.in-toto+json"
    content = json.loads(base64.b64decode(envelope["payload"]))
    assert content["_type"] == "https://in-toto.io/Statement/v1"
    assert all(len(subject["digest"]["sha256"]) == 64 for subject in content["subject"])
    assert content == statement(project)


def test_it_says_what_was_forgotten_from_what_and_by_what(project: Project) -> None:
    paths, said = project[0], statement(project)["predicate"]
    assert said["samples"] == {"catalog": 24, "forgotten": 2, "forgotten_before": 0}
    assert said["model"]["before"] == sha256_file(weights(paths, "base"))
    assert said["model"]["after"] == sha256_file(weights(paths, "r001"))
    assert said["data"]["before"] == said["data"]["after"] != {}
    assert said["method"]["parameters"]["steps"] == 80
    assert said["figures"]["models"]["retrained"]["forget"]["image_to_text_r1"] == 0
    assert said["purge"] == {"state": "not purged yet"}
    assert [event["kind"] for event in said["requests"][0]["events"]] == ["received", "approved", "released"]
    assert said["requests"][1]["selectors"] == [{"kind": "id", "count": 1}]


def test_it_carries_failed_checks_and_says_when_it_compared_with_an_estimate(tmp_path: Path) -> None:
    failed = certified_project(tmp_path, passed=False, gold=False)
    said = statement(failed)["predicate"]
    assert said["verdict"] == "failed"
    assert [check["name"] for check in said["figures"]["gate"]["checks"] if not check["passed"]] == ["neighbour_recall"]
    assert [event["kind"] for event in said["requests"][0]["events"]] == ["received", "approved"]
    page = failed[0].release("r001").certificate_page.read_text()
    assert "must not be used" in page
    assert "| **failed** | 0.410 | 0.100 |" in page
    assert "compared with an estimate" in page


def test_nothing_of_what_was_forgotten_is_in_any_certificate(project: Project) -> None:
    where = project[0].release("r001")
    pages = [where.certificate_page, *where.request_certificates.glob("*.md")]
    assert len(pages) == 3
    for page in pages:
        payload = base64.b64decode(read_json(page.with_suffix(".json"))["payload"])
        assert b"SECRET" not in payload + page.read_bytes()


def test_a_request_gets_its_own_part_tied_to_the_certificate_of_the_release(project: Project) -> None:
    where, about = project[0].release("r001"), statement(project, request="req-0002")
    assert about["predicate"]["request"] == statement(project)["predicate"]["requests"][1]
    assert "req-0001" not in json.dumps(about)
    digests = {subject["name"]: subject["digest"]["sha256"] for subject in about["subject"]}
    assert digests["reports/r001/certificate.json"] == sha256_file(where.certificate)


def test_issuing_again_changes_no_byte_and_a_purge_is_taken_in(tmp_path: Path) -> None:
    paths, params = certified_project(tmp_path)
    where = paths.release("r001")
    before = where.certificate.read_bytes()
    issue(paths, params, registered(paths, "r001"))
    assert where.certificate.read_bytes() == before
    write_json(where.purge, purged(findings=1))
    issue(paths, params, registered(paths, "r001"))
    purge = statement((paths, params))["predicate"]["purge"]
    assert (purge["state"], purge["findings"], purge["sha256"]) == ("purged", 1, sha256_file(where.purge))
    page = where.certificate_page.read_text()
    assert "traces in 1 places" in page
    assert "The purge could not reach: backups." in page


def test_no_other_byte_and_no_other_key_is_accepted(project: Project, tmp_path: Path) -> None:
    paths, params = project
    content = paths.release("r001").certificate.read_bytes()
    key = trusted_key(paths, params.certificate)
    copy = tmp_path / "certificate.json"
    for place in range(0, len(content), max(1, len(content) // 300)):
        copy.write_bytes(content[:place] + bytes([content[place] ^ 1]) + content[place + 1 :])
        with pytest.raises(ExpungeError, match=r"certificate\.json"):
            read_signed(copy, key)
    create_keys(tmp_path / "other.pem", tmp_path / "other.pub")
    other = CertificateParams(private_key="other.pem", public_key="other.pub")
    copy.write_bytes(sign(statement(project), signing_key(Paths(tmp_path), other)))
    with pytest.raises(ExpungeError, match="was signed by"):
        read_signed(copy, key)


def test_demo_mode_makes_a_key_and_says_so(project: Project) -> None:
    paths, params = project
    key = paths.root / params.certificate.private_key
    assert key.stat().st_mode & 0o077 == 0
    assert statement(project)["predicate"]["issuer"]["mode"] == "demo"
    assert "demo mode" in paths.release("r001").certificate_page.read_text()


def test_production_mode_never_makes_a_key(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ExpungeError, match="is missing"):
        certified_project(tmp_path, mode="production")
    assert not list(tmp_path.glob(".expunge/keys/*"))
    params = CertificateParams(mode="production")
    private, public = tmp_path / params.private_key, tmp_path / params.public_key
    create_keys(private, public)
    with pytest.raises(ExpungeError, match="never replaced"):
        create_keys(private, public)
    monkeypatch.setenv(KEY_VARIABLE, private.read_text())
    private.unlink()
    paths, params = certified_project(tmp_path, mode="production")
    assert statement((paths, params))["predicate"]["issuer"]["mode"] == "production"
    assert "demo" not in paths.release("r001").certificate_page.read_text()


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (lambda key: key.chmod(0o644), "chmod 600"),
        (lambda key: key.write_text("not a key"), "no private key"),
        (lambda key: create_keys(key.with_name("x"), key.with_name("certificate.pub")), "does not belong"),
    ],
)
def test_an_unusable_key_is_named_before_anything_is_signed(tmp_path: Path, damage, message: str) -> None:
    paths, params = certified_project(tmp_path)
    before = paths.release("r001").certificate.read_bytes()
    damage(tmp_path / params.certificate.private_key)
    with pytest.raises(ExpungeError, match=message):
        certify(paths, params, "r001")
    assert paths.release("r001").certificate.read_bytes() == before


def test_the_command_shows_issues_and_keys(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import expunge.commands.verify as commands
    from expunge.cli import app

    paths, params = project
    monkeypatch.chdir(paths.root)
    monkeypatch.setattr(commands, "load_params", lambda path: params)
    shown = CliRunner().invoke(app, ["certificate", "show", "r001", "--request", "req-0001"])
    assert shown.output.startswith("# Certificate of forgetting: request req-0001, release r001")
    assert CliRunner().invoke(app, ["certificate", "issue", "r001"]).exit_code == 0
    for arguments in (["show", "r001", "--request", "../certificate"], ["issue", "r9"], ["new-key"]):
        assert isinstance(CliRunner().invoke(app, ["certificate", *arguments]).exception, ExpungeError)
