"""The service around the protocols: limits, its certificate, and the command itself."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time

import pytest
import yaml
from fastapi.testclient import TestClient
from typer.testing import CliRunner

from expunge.cli import app as command
from expunge.intake.protocols.office import Office
from expunge.intake.protocols.service import MAX_BODY, create_app
from expunge.intake.protocols.signing import Seal, open_seal
from expunge.intake.settings import ServeParams
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.settings import load_params
from project import write_params
from senders import (
    ADDRESS,
    NOW,
    OPENDSR_EXAMPLE,
    TOKEN,
    Post,
    bearer,
    nowhere_in,
    serve_params,
)


def test_large_bodies_and_too_many_requests_are_refused(client: TestClient, office: Office, seal: Seal) -> None:
    assert client.post("/v2/requests", content=b" " * (MAX_BODY + 1), headers=bearer()).status_code == 413
    few = ServeParams.model_validate(serve_params() | {"per_minute": 2})
    small = TestClient(create_app(Office(office.paths, few, lambda: NOW), seal, ADDRESS))
    answers = [small.post("/v2/requests", json={}, headers=bearer("guess")).status_code for _ in range(3)]
    assert answers == [401, 401, 429]
    assert small.post("/v1/agent/AA_ID", content=b"").status_code == 403


def test_a_subject_that_is_forgotten_already_is_told_so(client: TestClient, office: Office) -> None:
    office.desk.__dict__["forgotten"] = {f"sample:{number:04d}" for number in range(0, 24, 3)}
    client.post("/v2/requests", json=OPENDSR_EXAMPLE, headers=bearer())
    number = OPENDSR_EXAMPLE["subject_request_id"]
    assert client.get(f"/v2/requests/{number}", headers=bearer()).json()["request_status"] == "completed"
    assert office.desk.ledger.get("req-0001").state == "rejected"


def test_a_public_origin_needs_a_certificate_of_its_own(paths: Paths) -> None:
    with pytest.raises(ExpungeError, match="certificate that an authority issued"):
        open_seal(paths, ServeParams(public="https://x.example"), "x.example")


def test_nobody_is_served_before_a_sender_is_registered(paths: Paths, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(paths.root)
    result = CliRunner().invoke(command, ["serve"])
    assert isinstance(result.exception, ExpungeError)
    assert "Nobody may send requests yet" in str(result.exception)


@pytest.mark.slow
def test_the_command_serves_a_request_and_calls_back(paths: Paths, post: Post) -> None:
    settings = yaml.safe_load(paths.params.read_text())
    write_params(paths.root, settings | {"serve": serve_params(post.origin) | {"poll_seconds": 1}})
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run = "from expunge.cli import app; app()"
    server = subprocess.Popen(
        [sys.executable, "-c", run, "serve", "--port", str(port)],
        cwd=paths.root,
        env=os.environ | {"PYTHONUNBUFFERED": "1"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert "Deletion requests are taken" in server.stdout.readline()
        where = f"http://127.0.0.1:{port}/v2"
        sent = json.dumps(OPENDSR_EXAMPLE | {"status_callback_urls": [f"{post.origin}/cb"]})
        curl = ["curl", "--silent", "--retry", "20", "--retry-connrefused", "--retry-delay", "1", "-w", "%{http_code}"]
        posted = [*curl, "-H", f"Authorization: Bearer {TOKEN}", "--data", sent, f"{where}/requests"]
        assert subprocess.run(posted, capture_output=True, text=True).stdout.endswith("201")
        assert subprocess.run(posted, capture_output=True, text=True).stdout.endswith("400")
        for foreign in ("Host: evil.example", "Origin: https://evil.example"):
            asked = [*curl, "-H", foreign, f"{where}/discovery"]
            assert subprocess.run(asked, capture_output=True, text=True).stdout.endswith("403")
        ledger = Office(paths, load_params(paths.params).serve).desk.ledger
        ledger.approve("req-0001", "Ada")
        ledger.mark_released(["req-0001"], "r001", "ab" * 32)
        deadline = time.monotonic() + 30
        while not any(b"completed" in body for _, body in post.told) and time.monotonic() < deadline:
            time.sleep(0.2)
        assert b"completed" in post.told[-1][1]
    finally:
        server.send_signal(signal.SIGINT)
        server.wait(timeout=30)
        server.stdout.close()
    nowhere_in(paths.root, "johndoe@example.com")
