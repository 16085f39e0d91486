"""Arrays larger than memory: rows in a temporary file that is mapped, so that the page cache decides what stays.

The file is unlinked as soon as it is open, so not even a killed process leaves its content behind; its blocks are
reserved first, because a disk that fills up under a mapping kills the process without a word.
"""

from __future__ import annotations

import os
import tempfile
from typing import Any

import numpy as np

from expunge.project.errors import ExpungeError

BLOCK = 8192
"""Rows that are copied at a time."""


def scratch(shape: tuple[int, ...], dtype: Any) -> np.ndarray:
    """A new array of zeros in an unlinked temporary file.

    Raises:
        ExpungeError: the disk of the temporary folder is full.
    """
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    if not size:
        return np.empty(shape, dtype)
    with tempfile.TemporaryFile() as stream:
        try:
            os.posix_fallocate(stream.fileno(), 0, size)
        except OSError as error:
            raise ExpungeError(
                f"No room for {size >> 20} MiB in {tempfile.gettempdir()} ({error.strerror})."
            ) from error
        return np.memmap(stream, dtype, "r+", shape=shape).view(np.ndarray)


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows `rows` of `array` as a scratch array of their own, copied in blocks."""
    taken = scratch((len(rows), *array.shape[1:]), array.dtype)
    for start in range(0, len(rows), BLOCK):
        taken[start : start + BLOCK] = array[rows[start : start + BLOCK]]
    return taken
