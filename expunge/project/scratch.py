"""Arrays larger than memory: rows in a temporary file that is mapped, so that the page cache decides what stays.

The file is unlinked as soon as it is open, so not even a killed process leaves its content behind; its blocks are
reserved first, because a disk that fills up under a mapping kills the process without a word. Whoever reads an array
from end to end reads it in `blocks`, which leaves no page of it in the process's own memory.
"""

from __future__ import annotations

import mmap
import os
import tempfile
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np

from expunge.project.errors import ExpungeError

BLOCK = 8192
"""Rows that are copied at a time."""

_MAPPED: weakref.WeakSet[mmap.mmap] = weakref.WeakSet()


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
        mapped = np.memmap(stream, dtype, "r+", shape=shape)
    _MAPPED.add(mapped._mmap)  # type: ignore[attr-defined]  # numpy's stubs leave it out
    return mapped.view(np.ndarray)


def blocks(array: Any, size: int = BLOCK) -> Iterator[tuple[int, Any]]:
    """Where each block of `size` rows of an array or tensor begins, and the block; see `let_go`."""
    for start in range(0, len(array), size):
        yield start, array[start : start + size]
        let_go()


def let_go() -> None:
    """Take the pages of all scratch arrays out of this process's memory; the system keeps those that it has room for.

    Nothing is lost: a page that is read again comes from the page cache, or from the file.
    """
    for mapped in list(_MAPPED):
        mapped.madvise(mmap.MADV_DONTNEED)


def take_rows(array: np.ndarray, rows: np.ndarray) -> np.ndarray:
    """The rows `rows` of `array` as a scratch array of their own, copied in blocks."""
    taken = scratch((len(rows), *array.shape[1:]), array.dtype)
    for start, block in blocks(rows):
        taken[start : start + BLOCK] = array[block]
    return taken
