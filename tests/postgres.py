"""A real PostgreSQL server for tests: its own folder, a unix socket only, stopped by its process id."""

from __future__ import annotations

import glob
import itertools
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest

START_SECONDS = 60


class Server:
    """A running server; each `database()` is a new one."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket
        self._numbers = itertools.count(1)

    def url(self, database: str) -> str:
        return f"postgresql://expunge@/{database}?host={self._socket}"

    def database(self, like: str = "") -> str:
        """The URL of a new database, empty or a copy of the one at the URL `like`, which nobody may be using."""
        import psycopg

        name = f"ledger{next(self._numbers)}"
        source = f" TEMPLATE {urlsplit(like).path.lstrip('/')}" if like else ""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}{source}")
        return self.url(name)


@contextmanager
def postgres_server() -> Iterator[Server]:
    """Start a server and stop it; without its programs the test is skipped, in continuous integration it fails."""
    initdb, postgres = _program("initdb"), _program("postgres")
    # The server refuses to run as root.
    owner = {"user": "nobody", "group": "nogroup", "extra_groups": []} if os.geteuid() == 0 else {}
    folder = Path(tempfile.mkdtemp(prefix="expunge-postgres-"))
    if owner:
        shutil.chown(folder, owner["user"])
    data = folder / "data"
    try:
        make = [initdb, "-D", data, "--username=expunge", "--auth=trust", "--encoding=UTF8", "--no-locale", "--no-sync"]
        subprocess.run(make, check=True, stdout=subprocess.DEVNULL, cwd=folder, **owner)
        with open(folder / "log", "w") as log:
            command = [postgres, "-D", data, "-k", folder, "-c", "listen_addresses="]
            server = subprocess.Popen(command, stdout=log, stderr=log, cwd=folder, **owner)
        try:
            running = Server(folder)
            _wait_for(running, server, folder / "log")
            yield running
        finally:
            # Fast shutdown: open connections are closed.
            server.send_signal(signal.SIGINT)
            server.wait(timeout=120)
    finally:
        shutil.rmtree(folder)


def _program(name: str) -> str:
    found = shutil.which(name) or next(iter(sorted(glob.glob(f"/usr/lib/postgresql/*/bin/{name}"), reverse=True)), None)
    if found is None:
        complaint = f"PostgreSQL's {name} is not on the PATH; install the package postgresql"
        pytest.fail(complaint) if os.environ.get("CI") else pytest.skip(complaint)
    return found


def _wait_for(running: Server, server: subprocess.Popen, log: Path) -> None:
    import psycopg

    deadline = time.monotonic() + START_SECONDS
    while True:
        try:
            psycopg.connect(running.url("postgres")).close()
            return
        except psycopg.OperationalError:
            assert server.poll() is None, log.read_text()
            assert time.monotonic() < deadline, log.read_text()
            time.sleep(0.1)
