"""A new project's git and DVC repositories."""

from __future__ import annotations

import logging
from pathlib import Path

from expunge.lineage.git import is_top, start
from expunge.project.errors import ExpungeError


def create_repositories(root: Path) -> None:
    """Make `root` a git repository, unless it lies in one, and a DVC repository that reports nothing; may be run again.

    Raises:
        ExpungeError: git is missing or refuses.
    """
    from dvc.exceptions import DvcException
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    start(root)
    try:
        with set_loggers_level(logging.ERROR):
            if not (root / ".dvc" / "config").is_file():
                # `force`: what a killed run left of `.dvc` is not a reason to refuse.
                Repo.init(str(root), subdir=not is_top(root), force=True).close()
            with Repo(str(root)) as repo, repo.config.edit() as config:
                config["core"] |= {"analytics": False, "check_update": False}
    except DvcException as error:
        raise ExpungeError(f"DVC refuses to work in {root}: {error}") from None
