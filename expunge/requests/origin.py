"""Whether a ledger may begin here: only where there never was one.

A ledger that was deleted must not silently begin again from its seed: requests that were served would stand as
approved, and later ones would be gone.
"""

from __future__ import annotations

import json
from pathlib import Path

import sqlalchemy as sa

from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.requests.settings import LedgerParams


class LedgerLost(ExpungeError):
    """There was a ledger, and it is gone."""


def is_lost(params: LedgerParams, root: Path) -> bool:
    """Whether the ledger's SQLite file is gone from where it was; of other databases only their tables can tell."""
    address = sa.make_url(params.url) if params.url.startswith("sqlite") else None
    return bool(address and address.database and not (root / address.database).exists() and is_used(root))


def is_used(root: Path) -> bool:
    """Whether something here says that requests were recorded before."""
    return evidence(root) is not None


def evidence(root: Path) -> Path | None:
    """A file that only a ledger in use can have left: its head, or what a release that was registered wrote."""
    paths = Paths(root)
    try:
        seq = json.loads(paths.ledger_head.read_text(encoding="utf-8"))["head"]["seq"]
        if seq:
            return paths.ledger_head
    except FileNotFoundError:
        pass
    except (OSError, ValueError, KeyError, TypeError):
        return paths.ledger_head
    every = paths.release("*")
    found = [path for one in (every.registration, every.tombstone) for path in _found(paths, one)]
    return next(iter(found), None)


def lost(params: LedgerParams, root: Path) -> LedgerLost:
    """What to say where the ledger is gone."""
    where = sa.make_url(params.url).set(query={}).render_as_string(hide_password=True)
    if not Paths(root).ledger_head.is_file():  # as in a clone
        return LedgerLost(
            f"The ledger {where} is not here: neither git nor DVC carries it. In the project that this one was cloned "
            "from, `expunge backup FILE` writes it with its keys; `expunge restore FILE` brings both here. Without a "
            "backup `expunge repair` rebuilds it from releases and receipts."
        )
    return LedgerLost(
        f"The ledger {where} is gone: {evidence(root)} is of a time when there was one. Restore it with "
        "`expunge restore FILE`; without a backup `expunge repair` rebuilds it from releases and receipts."
    )


def _found(paths: Paths, pattern: Path) -> list[Path]:
    found = sorted(paths.root.glob(pattern.relative_to(paths.root).as_posix()))
    return [path for path in found if path.parent.name != BASE]
