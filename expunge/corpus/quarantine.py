"""What a source offers and the catalog cannot use: a table with the reason of each row, and a limit.

The table says where a row stands in the source, never what it says.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.project.columns import read_table
from expunge.project.errors import ExpungeError
from expunge.project.files import atomic_path

Reason = Literal[
    "archive_bomb",
    "bad_id",
    "bad_row",
    "broken_archive",
    "caption_not_utf8",
    "caption_too_long",
    "duplicate_id",
    "huge_picture",
    "missing_picture",
    "no_caption",
    "no_picture",
    "path_escape",
    "unknown_split",
    "unreadable_picture",
]
SCHEMA = pa.schema([pa.field(name, pa.string(), False) for name in ("location", "reason", "detail")])
META = b"expunge"
WITHHELD = "withheld by a purge"


class Rejected(NamedTuple):
    """A row of a source that cannot be used, with where it stands and why."""

    location: str
    reason: str
    detail: str


class Unusable(Exception):
    """Raised where a picture or a row turns out to be unusable; becomes a `Rejected`."""

    def __init__(self, reason: Reason, detail: str) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason
        self.detail = detail

    def at(self, location: str) -> Rejected:
        """The row that it happened to."""
        return Rejected(location, self.reason, self.detail)


@dataclass(frozen=True)
class Intake:
    """How a build of the catalog went.

    Attributes:
        offered: rows that the source has, those that `catalog.limit` leaves out aside.
        reasons: reason → rows in quarantine.
        treated: what was done to pictures → how many.
    """

    offered: int
    reasons: dict[str, int]
    treated: dict[str, int]

    @property
    def quarantined(self) -> int:
        """Rows in quarantine."""
        return sum(self.reasons.values())

    def sentence(self) -> str:
        """One line for the terminal and the report."""
        parts = [f"{self.quarantined} of {self.offered} rows in quarantine"]
        if self.reasons:
            parts[0] += f" ({_counts(self.reasons)})"
        if self.treated:
            parts.append(f"pictures changed: {_counts(self.treated)}")
        return "; ".join(parts)


def write_quarantine(path: Path, rows: Sequence[Rejected], offered: int, treated: Mapping[str, int]) -> Intake:
    """Write the table, atomically, and return its summary."""
    intake = Intake(offered, dict(Counter(row.reason for row in rows)), dict(treated))
    meta = {META: json.dumps({"offered": offered, "treated": intake.treated}, sort_keys=True)}
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=SCHEMA.with_metadata(meta))
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd")
    return intake


def withhold(path: Path, betrays: Callable[[str], bool]) -> int:
    """Take the place and the detail out of rows that name what was forgotten; returns of how many.

    A row of the source that has a forgotten sample's id twice, or a file named by its caption, stands here although
    the catalog never had it. The row stays, with its reason, so that counts stay what they were.

    Raises:
        ExpungeError: the file is damaged.
    """
    if not path.is_file():
        return 0
    try:
        table = pq.read_table(path)
    except (pa.ArrowException, OSError) as error:
        raise _damaged(path, error) from None
    rows = table.to_pylist()
    found = [row for row in rows if betrays(row["location"]) or betrays(row["detail"])]
    if found:
        for row in found:
            row |= {"location": WITHHELD, "detail": ""}
        with atomic_path(path) as partial:
            pq.write_table(pa.Table.from_pylist(rows, schema=table.schema), partial, compression="zstd")
    return len(found)


def read_intake(path: Path) -> Intake | None:
    """The summary of the table at `path`, None where there is none.

    Raises:
        ExpungeError: the file is damaged.
    """
    if not path.is_file():
        return None
    try:
        table = read_table(path)
        meta = json.loads((table.schema.metadata or {})[META])
        return Intake(meta["offered"], dict(Counter(map(str, table["reason"].to_pylist()))), meta["treated"])
    except (pa.ArrowException, OSError, KeyError, ValueError) as error:
        raise _damaged(path, error) from None


def _damaged(path: Path, error: Exception) -> ExpungeError:
    return ExpungeError(f"{path} is damaged ({type(error).__name__}); run `dvc repro catalog`.")


def check_share(intake: Intake, limit: float, path: Path) -> None:
    """Stop a build of which too much is in quarantine.

    Raises:
        ExpungeError: more than `limit` of the rows are.
    """
    if intake.quarantined > limit * intake.offered:
        raise ExpungeError(
            f"{intake.sentence()}: more than `catalog.quarantine_limit` allows ({limit:.1%}). "
            f"{path} lists them; mend the source, or raise the limit."
        )


def _counts(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{count} {name.replace('_', ' ')}" for name, count in sorted(numbers.items()))
