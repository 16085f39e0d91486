"""A purge that was begun and not finished."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

from expunge.project.errors import ExpungeError
from expunge.repair.state import BlockingState, Site


def half_purge_state(site: Site) -> Iterator[BlockingState]:
    """Its journal lies under `.expunge/purge`; without a readable one nothing was removed yet, or all was."""
    for folder in sorted(site.paths.purges.glob("*")):
        name = folder.name
        if site.paths.purge_journal(name).is_file():
            yield BlockingState(
                name,
                "A purge of it was begun and not finished.",
                f"finish it, as `expunge purge {name}` does",
                command=f"expunge purge {name}",
                mend=partial(_finish, site, name),
            )
        else:
            # The journal is written last at the beginning, and removed last at the end.
            yield BlockingState(
                name,
                "What a purge that never began, or has ended, left lies about, traces of forgotten content included.",
                f"remove {folder}",
                mend=partial(_remove, folder),
            )


def _finish(site: Site, name: str, by: str) -> str:
    from expunge.purge import run
    from expunge.purge.journal import Journal

    journal = Journal.open(site.paths, name)
    if journal is None:
        raise ExpungeError(f"The purge of {name} has been finished meanwhile.")
    with run.alone(site.paths):
        run.finish(site.paths, site.params, journal)
    return f"The purge of {name} is finished and clean."


def _remove(folder: Path, by: str) -> str:
    shutil.rmtree(folder)
    return f"{folder} is gone."
