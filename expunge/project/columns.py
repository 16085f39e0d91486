"""Tables of our Parquet files, and their columns as Python values of a known type.

Arrow's own `to_pylist` promises anything or None; the schemas of our files know better, and a column that breaks its
schema is found where it is read.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.project.errors import ExpungeError


def read_table(path: Path, columns: Sequence[str] | None = None) -> pa.Table:
    """One Parquet file, or some of its columns in the order given.

    `pyarrow.parquet.read_table` would import `pyarrow.dataset` and pandas first, a third of a second, and would make
    columns of folders that are named like a=b.

    Raises:
        OSError, pyarrow.ArrowException: the file is missing or damaged.
    """
    with pq.ParquetFile(path) as file:
        table = file.read(list(columns) if columns is not None else None)
    return table if columns is None else table.select(list(columns))


def strings(column: pa.ChunkedArray | pa.Array) -> list[str]:
    """The values of a string column without nulls.

    Raises:
        ExpungeError: a value is missing.
    """
    if column.null_count:
        raise ExpungeError("A table of this project lacks values that it must have; run `dvc repro` to build it again.")
    return cast(list[str], column.to_pylist())


def binaries(column: pa.ChunkedArray | pa.Array) -> list[bytes]:
    """The values of a binary column without nulls.

    Raises:
        ExpungeError: a value is missing.
    """
    if column.null_count:
        raise ExpungeError("A table of this project lacks values that it must have; run `dvc repro` to build it again.")
    return cast(list[bytes], column.to_pylist())
