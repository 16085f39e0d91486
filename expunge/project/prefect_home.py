"""Where Prefect keeps its database: in the project, so that it shares neither the user's default nor another's."""

from __future__ import annotations

import os
import shlex
import socket
from pathlib import Path
from urllib.parse import urlsplit

from expunge.project.paths import Paths

VARIABLE = "PREFECT_HOME"


def prefect_home() -> Path:
    """The folder that `PREFECT_HOME` names, else the project's own."""
    return Path(os.environ.get(VARIABLE) or Paths().prefect_home).expanduser().resolve()


def use_own_home() -> None:
    """Let Prefect use that folder, which only the user may enter. To be called before Prefect is imported."""
    home = prefect_home()
    home.mkdir(mode=0o700, parents=True, exist_ok=True)
    os.environ[VARIABLE] = str(home)


def running_server(paths: Paths) -> dict[str, str]:
    """The environment in which a client reaches the server that `make serve` has started, empty where none answers."""
    if not paths.server_environment.is_file():
        return {}
    lines = paths.server_environment.read_text(encoding="utf-8").splitlines()
    words = (shlex.split(line) for line in lines)
    found = dict(word[1].split("=", 1) for word in words if len(word) == 2 and "=" in word[1])
    address = urlsplit(found.get("PREFECT_API_URL", ""))
    try:
        with socket.create_connection((address.hostname or "", address.port or 0), timeout=1):
            return found
    except OSError:
        return {}
