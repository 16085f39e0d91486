"""What git says of the project."""

from __future__ import annotations

import subprocess
from pathlib import Path

from expunge.lineage.dvc.locks import LOCK
from expunge.project.errors import ExpungeError


def git_commit(root: Path) -> str:
    """The commit that is checked out, with `-dirty` where code or settings differ from it; `unknown` outside git.

    What a run writes itself (lock files, releases/, reports/) does not count: every run would otherwise look dirty.
    """
    commit = _git(root, "rev-parse", "HEAD")
    if commit is None:
        return "unknown"
    mine = [":(exclude)releases", ":(exclude)reports", f":(exclude,glob)**/{LOCK}"]
    changed = _git(root, "status", "--porcelain", "--untracked-files=no", "--", ".", *mine)
    return f"{commit}-dirty" if changed else commit


def tracked_files(root: Path) -> set[Path]:
    """Files under version control, as whole paths; none outside git."""
    listed = _git(root, "ls-files", "-z") or ""
    return {root.resolve() / name for name in listed.split("\0") if name}


def _git(root: Path, *arguments: str) -> str | None:
    try:
        done = subprocess.run(["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=30)
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None


def start(root: Path) -> None:
    """Make `root` a git repository, unless it lies in one.

    Raises:
        ExpungeError: git is missing or refuses.
    """
    if _top(root) is None and _git(root, "init", "--quiet") is None:
        raise ExpungeError(f"`git init` fails in {root}; install git, or try it by hand.")


def is_top(root: Path) -> bool:
    """Whether `root` is the top of its git working tree."""
    return _top(root) == root.resolve()


def _top(root: Path) -> Path | None:
    top = _git(root, "rev-parse", "--show-toplevel")
    return Path(top).resolve() if top else None
