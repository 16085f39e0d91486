"""Rows of table files: CSV, JSON Lines, JSON, Parquet, Arrow, and databases and queries of DuckDB."""

from __future__ import annotations

import csv
import posixpath
from collections.abc import Iterator
from typing import Any

import pyarrow as pa
import pyarrow.dataset as ds

from expunge.corpus.quarantine import Rejected
from expunge.corpus.stores import StoredFile, opened_text
from expunge.project.errors import ExpungeError
from expunge.project.reading import strict_json

Row = tuple[str, dict[str, Any]]
"""Where it stands, and its cells."""
TEXT = (".csv", ".tsv", ".txt")
JSON = (".jsonl", ".ndjson", ".json")
COLUMNAR = {".parquet": "parquet", ".pq": "parquet", ".arrow": "ipc", ".ipc": "ipc", ".feather": "ipc"}
SUFFIXES = (*TEXT, *JSON, *COLUMNAR)
DELIMITERS = ",;\t|"
MAX_LINE = 64 << 20
"""Bytes of one line of JSON."""
MAX_JSON = 1 << 30
BATCH = 256
"""Rows in memory at a time: each may hold a picture."""


def rows_of(file: StoredFile) -> Iterator[Row | Rejected]:
    """The rows of one file.

    Raises:
        ExpungeError: it is not what its name says, or of no known kind.
    """
    suffix = posixpath.splitext(file.name)[1].lower()
    if suffix in TEXT:
        yield from _csv(file)
    elif suffix in (".jsonl", ".ndjson"):
        yield from _json_lines(file)
    elif suffix == ".json":
        yield from _json(file)
    elif suffix in COLUMNAR:
        yield from _columnar(file, COLUMNAR[suffix])
    else:
        raise ExpungeError(f"{file.name} is no table; known are {', '.join(SUFFIXES)}, .duckdb and .db.")


def cells(batch: pa.RecordBatch) -> list[dict[str, Any]]:
    """The rows of a batch; texts that are not UTF-8 have surrogates for what is wrong."""
    try:
        return batch.to_pylist()
    except UnicodeDecodeError:
        columns = {}
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            texts = pa.types.is_string(column.type) or pa.types.is_large_string(column.type)
            values = column.cast(pa.large_binary()).to_pylist() if texts else column.to_pylist()
            columns[name] = [v.decode("utf-8", "surrogateescape") if texts and v is not None else v for v in values]
        return [dict(zip(columns, row, strict=True)) for row in zip(*columns.values(), strict=True)]


def _csv(file: StoredFile) -> Iterator[Row | Rejected]:
    with opened_text(file) as stream:
        header = stream.readline()
        if not header.strip():
            raise ExpungeError(f"{file.name} is empty; its first line must name the columns.")
        delimiter = max(DELIMITERS, key=header.count)
        names = [name.strip() for name in next(csv.reader([header], delimiter=delimiter, skipinitialspace=True))]
        reader = csv.reader(stream, delimiter=delimiter, skipinitialspace=True)
        while True:
            try:
                values = next(reader)
            except StopIteration:
                return
            except csv.Error:
                yield Rejected(f"{file.name}:{reader.line_num + 1}", "bad_row", "not CSV")
                continue
            place = f"{file.name}:{reader.line_num + 1}"
            if not values:
                continue
            if len(values) != len(names):
                yield Rejected(place, "bad_row", f"{len(values)} cells under {len(names)} columns")
                continue
            yield place, {name: value if value.strip() else None for name, value in zip(names, values, strict=True)}


def _json_lines(file: StoredFile) -> Iterator[Row | Rejected]:
    with file.open() as stream:
        number = 0
        while line := stream.readline(MAX_LINE):
            number += 1
            place = f"{file.name}:{number}"
            if not line.strip():
                continue
            try:
                value = strict_json(line.decode("utf-8", "surrogateescape"))
            except ValueError:
                yield Rejected(place, "bad_row", "not JSON")
                continue
            yield (place, value) if isinstance(value, dict) else Rejected(place, "bad_row", "not a JSON object")


def _json(file: StoredFile) -> Iterator[Row | Rejected]:
    with file.open() as stream:
        content = stream.read(MAX_JSON + 1)
    try:
        values = strict_json(content.decode("utf-8", "surrogateescape"))
    except ValueError as error:
        raise ExpungeError(f"{file.name} is not valid JSON ({error}); export it again.") from None
    if len(content) > MAX_JSON or not isinstance(values, list):
        raise ExpungeError(f"{file.name} holds no list of at most {MAX_JSON >> 20} MiB; use JSON Lines.")
    for number, value in enumerate(values, 1):
        place = f"{file.name}:{number}"
        yield (place, value) if isinstance(value, dict) else Rejected(place, "bad_row", "not a JSON object")


def _columnar(file: StoredFile, kind: str) -> Iterator[Row]:
    try:
        data = ds.dataset(file.path, format=kind, filesystem=file.fs)  # type: ignore[call-overload]  # `kind` is one of them
        batches = data.to_batches(batch_size=BATCH, batch_readahead=1, fragment_readahead=1, use_threads=False)
        yield from numbered(file.name, batches)
    except (pa.ArrowException, OSError) as error:
        raise ExpungeError(
            f"{file.name} cannot be read as {'Arrow' if kind == 'ipc' else 'Parquet'} ({type(error).__name__}): "
            "how many rows are lost is not known, so mend it or move it away."
        ) from None


def numbered(name: str, batches: Iterator[pa.RecordBatch]) -> Iterator[Row]:
    """The rows of batches, counted from one."""
    number = 0
    for batch in batches:
        for row in cells(batch):
            number += 1
            yield f"{name}:{number}", row
