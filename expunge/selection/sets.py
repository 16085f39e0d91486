"""Forget and retain sets as files: Parquet with the digests of what they were made from."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.project.columns import read_table
from expunge.project.errors import ExpungeError
from expunge.project.files import atomic_path


class ForgetRow(NamedTuple):
    """One sample to forget for one request. `score` is a cosine where a text selected it; `reason` has no content."""

    sample_id: str
    request_id: str
    reason: str
    score: float | None
    release: str


class RetainRow(NamedTuple):
    """One sample whose behaviour must stay. `score` is its nearness to the forget set, None in the random part."""

    sample_id: str
    role: Literal["neighbours", "random"]
    score: float | None


_FORGET_FIELDS: list[pa.Field] = [
    pa.field("sample_id", pa.string(), False),
    pa.field("request_id", pa.string(), False),
    pa.field("reason", pa.string(), False),
    pa.field("score", pa.float64()),
    pa.field("release", pa.string(), False),
]
FORGET_SCHEMA = pa.schema(_FORGET_FIELDS)

_RETAIN_FIELDS: list[pa.Field] = [
    pa.field("sample_id", pa.string(), False),
    pa.field("role", pa.string(), False),
    pa.field("score", pa.float64()),
]
RETAIN_SCHEMA = pa.schema(_RETAIN_FIELDS)


def write_forget(path: Path, rows: Iterable[ForgetRow], made_from: Mapping[str, str] | None = None) -> None:
    """Write a cumulative forget set: inherited rows keep their `release`.

    Args:
        made_from: digests of what the set was made from, kept in the schema's metadata.
    """
    ordered: list[ForgetRow] = sorted(rows, key=forget_order)
    _write(path, ordered, FORGET_SCHEMA, made_from)


def read_forget(path: Path, made_from: Mapping[str, str] | None = None) -> list[ForgetRow]:
    """Read a forget set.

    Raises:
        ExpungeError: the file is missing, damaged, or was not made from what `made_from` (if given) says.
    """
    return [ForgetRow(**row) for row in _read(path, FORGET_SCHEMA, made_from)]


def write_retain(path: Path, rows: Iterable[RetainRow], made_from: Mapping[str, str] | None = None) -> None:
    """Write a retain set: neighbours from the nearest on, then the random part by id; `made_from` as above."""
    ordered = sorted(rows, key=lambda row: (row.role, -(row.score or 0.0), row.sample_id))
    _write(path, ordered, RETAIN_SCHEMA, made_from)


def read_retain(path: Path, made_from: Mapping[str, str] | None = None) -> list[RetainRow]:
    """Read a retain set; raises as `read_forget` does."""
    return [RetainRow(**row) for row in _read(path, RETAIN_SCHEMA, made_from)]


def forget_order(row: ForgetRow) -> tuple[str, str, str]:
    return row.release, row.request_id, row.sample_id


def _write(path: Path, rows: Sequence[NamedTuple], schema: pa.Schema, made_from: Mapping[str, str] | None) -> None:
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)
    with atomic_path(path) as partial:
        pq.write_table(
            table.replace_schema_metadata(dict(sorted((made_from or {}).items()))), partial, compression="zstd"
        )


def _read(path: Path, schema: pa.Schema, made_from: Mapping[str, str] | None) -> list[dict]:
    try:
        table = read_table(path)
    except FileNotFoundError:
        raise ExpungeError(f"{path} is missing. Run `dvc repro` to build it.") from None
    except (OSError, pa.ArrowException) as error:
        raise ExpungeError(f"{path} cannot be read ({type(error).__name__}). Delete it and run `dvc repro`.") from None
    if not table.schema.equals(schema):
        raise ExpungeError(f"{path} has other columns than expected. Delete it and run `dvc repro`.")
    found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    for key, digest in (made_from or {}).items():
        if found.get(key) != digest:
            raise ExpungeError(f"{path} was made from another {key}; run `dvc repro` to bring it up to date.")
    return table.to_pylist()
