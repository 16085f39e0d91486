"""`make serve`: a real server and workers on loopback run the deployments, and stop without a trace."""

from __future__ import annotations

import base64
import json
import shlex
import shutil
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from project import run
from walk import Walk

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


@pytest.fixture
def slack() -> Iterator[ThreadingHTTPServer]:
    """A webhook on loopback; `told` is what it was sent."""

    class Webhook(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.server.told.append(json.loads(self.rfile.read(int(self.headers["Content-Length"]))))
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Webhook)
    server.told = []
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()


@pytest.fixture
def walk(served: Path, slack: ThreadingHTTPServer, tmp_path: Path) -> Iterator[Walk]:
    """Where the pages on the server and its deployments are followed, in a project with two undecided requests."""
    project = shutil.copytree(served, tmp_path / "project", symlinks=True)
    for name in ("family", "food-vegetable"):
        run(project, "expunge", "request", "add", "--class", name, "--basis", "quality")
    instead = {
        "4200": str(free_port()),
        "https://hooks.slack.com/services/T000/B000/XXXX": f"http://127.0.0.1:{slack.server_port}/hook",
    }
    walk = Walk(project, {"PREFECT_HOME": "", "PREFECT_LOGGING_LEVEL": "INFO", "PIP_NO_INDEX": "1"}, instead)
    yield walk
    walk.close()


def test_the_deployments_run_on_their_workers_as_the_pages_say(walk: Walk, slack: ThreadingHTTPServer) -> None:
    walk.take("server")
    project, [server] = walk.where, walk.servers
    written = project / ".expunge" / "serve.env"
    assert written.stat().st_mode & 0o077 == (project / ".expunge" / "server-secret").stat().st_mode & 0o077 == 0
    api = dict(shlex.split(line)[1].split("=", 1) for line in written.read_text().splitlines())
    nobody_gets_in_from_elsewhere(api["PREFECT_API_URL"], api["PREFECT_API_AUTH_STRING"])
    watched = run(project, "prefect", "deployment", "run", "release/nightly", "--watch", **api)
    assert "Completed" in watched.stdout
    assert "nothing was done" in walk.log(server)
    request = {
        "external_reference": "T-1",
        "basis": "ccpa",
        "selectors": [{"kind": "class", "class_name": "family"}],
    }
    asked = ["prefect", "deployment", "run", "intake/requests", "--params", json.dumps(request), "--watch"]
    for _ in range(2):
        assert "Completed" in run(project, *asked, **api).stdout
    known = json.loads(run(project, "expunge", "request", "list", "--json").stdout)
    assert [one["external_reference"] for one in known if "external_reference" in one] == ["T-1"]
    assert known[2]["state"] == "previewed"  # by the review, which waits for a person
    assert "Completed" in run(project, "prefect", "deployment", "run", "audit/daily", "--watch", **api).stdout
    assert "0 6 * * *" in run(project, "prefect", "deployment", "inspect", "audit/daily", **api).stdout
    schedules = run(project, "prefect", "deployment", "inspect", "release/nightly", **api).stdout
    assert "0 2 * * *" in schedules
    run(project, sys.executable, "-c", OVERDUE, **api)
    deadline = time.monotonic() + 120
    while not slack.told and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "Expunge: req-0003" in json.dumps(slack.told)

    server.send_signal(signal.SIGTERM)
    server.wait(timeout=60)
    deadline = time.monotonic() + 30
    while children(server.pid) and time.monotonic() < deadline:
        time.sleep(0.5)
    assert children(server.pid) == []
    assert not written.exists()


OVERDUE = """
from flows.notices import REQUEST_OVERDUE, tell
tell(REQUEST_OVERDUE, "request", "req-0003", "It is overdue.", "expunge request preview req-0003")
"""


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
