"""`make serve`: a real server and workers on loopback run the deployments, and stop without a trace."""

from __future__ import annotations

import base64
import json
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

import pytest

from project import run

pytestmark = pytest.mark.slow


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def children(group: int) -> list[str]:
    """Command lines of the processes in a process group."""
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text().rpartition(")")[2].split()
                command = (entry / "cmdline").read_bytes().decode(errors="replace").replace("\0", " ")
            except OSError:
                continue
            if int(stat[2]) == group and stat[0] != "Z":
                found.append(command)
    return found


def test_the_deployments_run_on_their_workers(served: Path, tmp_path: Path) -> None:
    port = free_port()
    environment = os.environ | {
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]),
        "PREFECT_HOME": "",
        "PREFECT_LOGGING_LEVEL": "INFO",
    }
    log = tmp_path / "serve.log"
    with open(log, "w") as stream:
        server = subprocess.Popen(
            [sys.executable, "-u", "-m", "flows.serve", "--port", str(port)],
            cwd=served,
            env=environment,
            stdout=stream,
            stderr=stream,
            start_new_session=True,
        )
    try:
        deadline = time.monotonic() + 180
        while "runs at 02:00 UTC" not in log.read_text() and time.monotonic() < deadline:
            assert server.poll() is None, log.read_text()
            time.sleep(0.5)
        written = served / ".expunge" / "serve.env"
        assert written.stat().st_mode & 0o077 == (served / ".expunge" / "server-secret").stat().st_mode & 0o077 == 0
        api = dict(shlex.split(line)[1].split("=", 1) for line in written.read_text().splitlines())
        nobody_gets_in_from_elsewhere(api["PREFECT_API_URL"], api["PREFECT_API_AUTH_STRING"])
        watched = run(served, "prefect", "deployment", "run", "release/nightly", "--watch", **api)
        assert "Completed" in watched.stdout
        assert "nothing was done" in log.read_text()
        request = {
            "external_reference": "T-1",
            "basis": "ccpa",
            "selectors": [{"kind": "class", "class_name": "family"}],
        }
        asked = ["prefect", "deployment", "run", "intake/requests", "--params", json.dumps(request), "--watch"]
        for _ in range(2):
            assert "Completed" in run(served, *asked, **api).stdout
        known = json.loads(run(served, "expunge", "request", "list", "--json", "--state", "received").stdout)
        assert [one["external_reference"] for one in known] == ["T-1"]
        assert "Completed" in run(served, "prefect", "deployment", "run", "audit/daily", "--watch", **api).stdout
        assert "0 6 * * *" in run(served, "prefect", "deployment", "inspect", "audit/daily", **api).stdout
        schedules = run(served, "prefect", "deployment", "inspect", "release/nightly", **api).stdout
        assert "0 2 * * *" in schedules
    finally:
        server.send_signal(signal.SIGTERM)
        server.wait(timeout=60)
    deadline = time.monotonic() + 30
    while children(server.pid) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert children(server.pid) == []
    assert not written.exists()


def asked(url: str, body: dict | None = None, **headers: str) -> tuple[int, str]:
    """Status and text of what a server answers; with a body the request is a POST without a content type."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    data = None if body is None else json.dumps(body).encode()
    try:
        with urllib.request.urlopen(urllib.request.Request(url, data, named), timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def nobody_gets_in_from_elsewhere(api: str, credentials: str) -> None:
    """Neither strangers, nor pages of other sites, nor other names; and who is let in cannot choose a command."""
    password = "Basic " + base64.b64encode(credentials.encode()).decode()
    listing = f"{api}/deployments/filter"
    token = {"Authorization": password, "Content_Type": "application/json", "Prefect_Csrf_Client": "test"}
    assert asked(listing, {})[0] in (401, 403)
    assert asked(listing, {}, Authorization=password, Content_Type="application/json")[0] == 403  # no CSRF token
    token["Prefect_Csrf_Token"] = json.loads(asked(f"{api}/csrf-token?client=test", **token)[1])["token"]
    status, text = asked(listing, {}, **token)
    assert status == 200, text
    for foreign in ({"Origin": "https://evil.example"}, {"Origin": "null"}, {"Host": "evil.example"}):
        assert asked(listing, {}, **token, **foreign)[0] == 403
        assert asked(f"{api}/health", **foreign)[0] == 403
    [nightly] = [one["id"] for one in json.loads(text) if one["name"] == "nightly"]
    for wish in ("command", "env", "working_dir"):
        forged = {"job_variables": {wish: {"A": "b"} if wish == "env" else "touch /tmp/forged"}, "state": None}
        status, text = asked(f"{api}/deployments/{nightly}/create_flow_run", forged, **token)
        assert status == 422, text
