"""Where Prefect keeps its database: in the project, so that it shares neither the user's default nor another's."""

from __future__ import annotations

import os
from pathlib import Path

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
