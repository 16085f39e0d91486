"""Columns of Arrow tables as Python values of a known type.

Arrow's own `to_pylist` promises anything or None; the schemas of our files know better, and a column that breaks its
schema is found where it is read.
"""

from __future__ import annotations

from typing import cast

import pyarrow as pa

from expunge.project.errors import ExpungeError


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
