"""`make serve`: a real server and workers on loopback run the deployments, and stop without a trace."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

from project import run


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
        "PREFECT_HOME": str(tmp_path / "prefect"),
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
        api = {"PREFECT_API_URL": f"http://127.0.0.1:{port}/api", "PREFECT_HOME": str(tmp_path / "prefect")}
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
