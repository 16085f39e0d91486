"""Receipts of the intake that cannot be read: they would vouch for nothing, and no purge can look into them."""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.repair.state import BlockingState, Site


def receipt_state(site: Site) -> Iterator[BlockingState]:
    """A receipt that is not a JSON list; the ledger has its requests."""
    for path in sorted((site.paths.root / site.params.ledger.drop_folder / "done").glob("*.json")):
        if not _is_readable(path):
            yield BlockingState(
                path.relative_to(site.paths.root).as_posix(),
                "This receipt cannot be read.",
                "remove it: its requests are in the ledger, and a sender who hands the file in again gets the same ids",
                mend=partial(_remove, path),
            )


def _is_readable(path: Path) -> bool:
    try:
        return isinstance(read_json(path), list)
    except ExpungeError:
        return False


def _remove(path: Path, by: str) -> str:
    os.unlink(path)
    return f"{path} is gone."
