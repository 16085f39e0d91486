"""`make serve`: a Prefect server and a worker for each pool on loopback, with the deployments of prefect.yaml.

Everything that is started here is stopped here, by process id, when the command ends.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from expunge.project.errors import ExpungeError

HOST = "127.0.0.1"
POOLS = {"gpu": 1, "desk": 4}
"""Work pool → flow runs at a time: one release, beside which requests are taken in and audits made."""
START_SECONDS = 120


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=4200)
    port = parser.parse_args().port
    signal.signal(signal.SIGTERM, _interrupt)
    processes: list[subprocess.Popen] = []
    try:
        serve(port, processes)
    except ExpungeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("Stopping the workers and the server.")
    finally:
        for process in reversed(processes):
            _stop(process)


def serve(port: int, processes: list[subprocess.Popen]) -> None:
    """Start server and workers, appending them to `processes`, and wait until one of them ends.

    Raises:
        ExpungeError: the server does not answer in time, or a process ends by itself.
    """
    api = f"http://{HOST}:{port}/api"
    environment = os.environ | {
        "EXPUNGE_ROOT": str(Path.cwd()),
        "PREFECT_API_URL": api,
        "PREFECT_UI_API_URL": api,
        "PATH": os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")]),
    }
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    server = subprocess.Popen([*prefect, "server", "start", "--host", HOST, "--port", str(port)], env=environment)
    processes.append(server)
    _wait_until_healthy(api, server)
    for pool, limit in POOLS.items():
        _run([*prefect, "work-pool", "create", pool, "--type", "process", "--overwrite"], environment)
        _run([*prefect, "work-pool", "set-concurrency-limit", pool, str(limit)], environment)
    _run([*prefect, "deploy", "--all"], environment)
    for pool, limit in POOLS.items():
        worker = [*prefect, "worker", "start", "--pool", pool, "--limit", str(limit)]
        processes.append(subprocess.Popen(worker, env=environment))
    print(
        f"Prefect is at http://{HOST}:{port}. The deployment release/nightly runs at 02:00 UTC and audit/daily at "
        "06:00 UTC; intake/requests takes requests. Ctrl-C stops all."
    )
    while all(process.poll() is None for process in processes):
        time.sleep(1)
    raise ExpungeError("The Prefect server or a worker ended by itself; see its messages above.")


def _run(command: list[str], environment: dict[str, str]) -> None:
    if subprocess.run(command, env=environment, check=False).returncode:
        raise ExpungeError(f"`{' '.join(command[1:])}` failed; see its messages above.")


def _wait_until_healthy(api: str, server: subprocess.Popen) -> None:
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        if server.poll() is not None:
            raise ExpungeError("The Prefect server ended while starting; is its port in use?")
        try:
            with urllib.request.urlopen(f"{api}/health", timeout=2):
                return
        except (urllib.error.URLError, OSError):
            time.sleep(0.5)
    raise ExpungeError(f"The Prefect server did not answer at {api} within {START_SECONDS} s.")


def _stop(process: subprocess.Popen) -> None:
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _interrupt(_number: int, _frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    main()
