"""A table: CSV, JSON Lines, Parquet or Arrow files, a DuckDB database, or SQL over any of them.

Pictures are bytes in a column, or paths and addresses below `catalog.pictures`. A query sees the files of
`catalog.data` as the table `data` and nothing else of this machine, so that what it reads is what the catalog depends
on.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from pathlib import Path

from expunge.corpus.quarantine import Rejected
from expunge.corpus.records import Offer, SourceRow
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._own import files_of, own_source, required
from expunge.corpus.sources._rows import BATCH, SUFFIXES, Row, numbered, rows_of
from expunge.corpus.stores import StoredFile, is_local
from expunge.project.errors import ExpungeError

DATABASES = (".duckdb", ".db")
READERS = {".csv": "read_csv", ".tsv": "read_csv", ".parquet": "read_parquet", ".pq": "read_parquet"}
"""DuckDB's functions by suffix; the rest are JSON."""


def open_source(params: CatalogParams) -> Source[Offer]:
    """The rows of the table `catalog.data` as a source."""
    required(params, "data")
    return own_source(params, (offer for row in _rows(params) for offer in _offers(row)))


def _offers(row: Row | Rejected) -> Iterator[Offer]:
    yield row if isinstance(row, Rejected) else SourceRow(*row)


def _rows(params: CatalogParams) -> Iterator[Row | Rejected]:
    files = files_of(params, "data")
    suffixes = {posixpath.splitext(file.name)[1].lower() for file in files}
    if params.query or suffixes & set(DATABASES):
        yield from _queried(params, files, suffixes)
        return
    tables = [file for file in files if file.name.lower().endswith(SUFFIXES)]
    if not tables:
        raise ExpungeError(f"catalog.data: no table at {params.data!r}; known are {', '.join(SUFFIXES)}, .duckdb, .db.")
    for file in tables:
        yield from rows_of(file)


def _queried(params: CatalogParams, files: list[StoredFile], suffixes: set[str]) -> Iterator[Row]:
    import duckdb

    if not all(is_local(address) for address in ([params.data] if isinstance(params.data, str) else params.data or ())):
        raise ExpungeError("catalog.query: a query reads files of this machine; copy the table here first.")
    if len(suffixes) > 1 or (suffixes & set(DATABASES) and len(files) > 1):
        raise ExpungeError("catalog.query: give one database, or files of one kind.")
    suffix, paths = suffixes.pop(), [file.path for file in files]
    try:
        if suffix in DATABASES:
            connection = duckdb.connect(paths[0], read_only=True, config={"allow_community_extensions": "false"})
        else:
            connection = duckdb.connect(config={"allow_community_extensions": "false"})
            reader = READERS.get(suffix, "read_json_auto")
            strings = ", all_varchar=true" if reader == "read_csv" else ""
            quoted = ", ".join("'" + path.replace("'", "''") + "'" for path in paths)
            connection.execute(f"SET allowed_paths=[{quoted}]")
            connection.execute(f"CREATE VIEW data AS SELECT * FROM {reader}([{quoted}]{strings})")
        with connection:
            connection.execute("SET enable_external_access=false")
            # One thread: with several, rows may come in another order every time.
            connection.execute("SET threads=1")
            connection.execute("SET lock_configuration=true")
            query = params.query or f"SELECT * FROM {_only_table(connection)}"
            batches = connection.sql(query).to_arrow_reader(BATCH)
            yield from numbered(f"{Path(paths[0]).name} query", iter(batches))
    except duckdb.Error as error:
        raise ExpungeError(f"catalog.query: {str(error).splitlines()[0]}.") from None


def _only_table(connection: object) -> str:
    names = [row[0] for row in connection.execute("SELECT table_name FROM duckdb_tables()").fetchall()]  # type: ignore[attr-defined]
    if len(names) != 1:
        raise ExpungeError(f"catalog.query: the database has {len(names)} tables ({', '.join(names)}); say which.")
    return '"' + names[0].replace('"', '""') + '"'
