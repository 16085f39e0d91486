"""`make serve`: a Prefect server and a worker for each pool on loopback, with the deployments of prefect.yaml.

Whoever may create flow runs decides what runs on this machine, so the server asks for a password, which is made once
and kept in a file of the project, for a CSRF token, and serves its own pages only. What a caller can say about the
process of a flow run is its name (`job_template.json`). Everything that is started here is stopped here, by process id,
when the command ends.
"""

from __future__ import annotations

import argparse
import os
import shlex
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.guard import LOOPBACK, USER, origins_of
from expunge.project.paths import Paths
from expunge.project.prefect_home import VARIABLE as PREFECT_HOME
from expunge.project.secret import kept_secret

POOLS = {"gpu": 1, "desk": 4}
"""Work pool → flow runs at a time: one release, beside which requests are taken in and audits made."""
JOB_TEMPLATE = Path(__file__).with_name("job_template.json")
START_SECONDS = 300


def main() -> None:
    """Serve until interrupted."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--port", type=int, default=4200)
    parser.add_argument("--origin", action="append", default=[], help="public origin of a reverse proxy; repeatable")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, _interrupt)
    processes: list[subprocess.Popen] = []
    try:
        serve(Paths(), options.port, options.origin, processes)
    except ExpungeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None
    except KeyboardInterrupt:
        print("Stopping the workers and the server.")
    finally:
        for process in reversed(processes):
            _stop(process)
        Paths().server_environment.unlink(missing_ok=True)


def serve(paths: Paths, port: int, public: list[str], processes: list[subprocess.Popen]) -> None:
    """Start server and workers, appending them to `processes`, and wait until one of them ends.

    Args:
        public: origins of a reverse proxy before this server.

    Raises:
        ExpungeError: the server does not answer in time, a public origin is not one, or a process ends by itself.
    """
    origins = origins_of(port, public)
    client = client_settings(paths, port)
    environment = os.environ | client | server_settings(origins, client["PREFECT_API_AUTH_STRING"])
    environment["EXPUNGE_ROOT"] = str(Path.cwd())
    environment["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    prefect = [sys.executable, "-m", "prefect", "--no-prompt"]
    server = subprocess.Popen([sys.executable, "-m", "flows.server", str(port), *public], env=environment)
    processes.append(server)
    wait_until_healthy(client["PREFECT_API_URL"], server)
    for pool, limit in POOLS.items():
        made = ["work-pool", "create", pool, "--type", "process", "--base-job-template", str(JOB_TEMPLATE)]
        _run([*prefect, *made, "--overwrite"], environment)
        _run([*prefect, "work-pool", "set-concurrency-limit", pool, str(limit)], environment)
    _run([*prefect, "deploy", "--all"], environment)
    for pool, limit in POOLS.items():
        worker = [*prefect, "worker", "start", "--pool", pool, "--limit", str(limit)]
        processes.append(subprocess.Popen(worker, env=environment))
    lines = (f"export {name}={shlex.quote(value)}\n" for name, value in client.items())
    write_bytes(paths.server_environment, "".join(lines).encode(), private=True)
    print(
        f"Prefect is at {origins[0]}. The deployment release/nightly runs at 02:00 UTC and audit/daily at 06:00 UTC; "
        "intake/requests takes requests, and review/requests asks for a decision on one. "
        f"Sign in with {USER}:PASSWORD, the password being the content of {paths.server_secret}; "
        f"`. {paths.server_environment}` lets `prefect` in another shell do so. "
        "Ctrl-C stops all."
    )
    while all(process.poll() is None for process in processes):
        time.sleep(1)
    raise ExpungeError("The Prefect server or a worker ended by itself; see its messages above.")


def client_settings(paths: Paths, port: int) -> dict[str, str]:
    """The environment in which `prefect` reaches the server of this project and is let in.

    Raises:
        ExpungeError: the file with the password can be neither read nor created.
    """
    try:
        password = kept_secret(paths.server_secret)
    except OSError as error:
        raise ExpungeError(f"{paths.server_secret} cannot be used: {error.strerror}. Mend that.") from error
    if not password:
        raise ExpungeError(f"{paths.server_secret} is empty; delete it, and a new one is made.")
    return {
        PREFECT_HOME: os.environ[PREFECT_HOME],
        "PREFECT_API_URL": f"http://{LOOPBACK}:{port}/api",
        # Where links that are printed lead: to the pages that ask for the password where they have none yet.
        "PREFECT_UI_URL": f"http://{LOOPBACK}:{port}/v2",
        "PREFECT_API_AUTH_STRING": f"{USER}:{password}",
    }


def server_settings(origins: tuple[str, ...], credentials: str) -> dict[str, str]:
    """The environment of the server: who is let in, from where, and pages without advertisements."""
    return {
        "PREFECT_SERVER_API_AUTH_STRING": credentials,
        "PREFECT_SERVER_API_CSRF_PROTECTION_ENABLED": "true",
        "PREFECT_SERVER_API_CORS_ALLOWED_ORIGINS": ",".join(origins),
        "PREFECT_SERVER_ANALYTICS_ENABLED": "false",
        "PREFECT_SERVER_UI_SHOW_PROMOTIONAL_CONTENT": "false",
        "PREFECT_UI_API_URL": f"{origins[0]}/api",
    }


def _run(command: list[str], environment: dict[str, str]) -> None:
    if subprocess.run(command, env=environment, check=False).returncode:
        raise ExpungeError(f"`{' '.join(command[1:])}` failed; see its messages above.")


def wait_until_healthy(api: str, server: subprocess.Popen) -> None:
    """Return when the server answers at `api`.

    Raises:
        ExpungeError: it ends before, or does not answer in `START_SECONDS`.
    """
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
