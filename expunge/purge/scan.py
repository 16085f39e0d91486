"""A search for traces in every file under some folders: raw bytes, and what Parquet and compressed files hold.

Files are read in pieces, so memory does not grow with them. Parquet is read column by column as well, whatever its
encoding and compression; gzip, zstd, bzip2 and zip are opened, one inside another. SQLite keeps text in the clear, on
free pages too, so its raw bytes are enough. A finding names file and kind, never the content.
"""

from __future__ import annotations

import io
import os
import time
import zipfile
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from ahocorasick_rs import BytesAhoCorasick

from expunge.project.progress import progress
from expunge.purge.traces import Trace

PIECE = 4 << 20
IN_MEMORY = 64 << 20
"""Compressed content of up to this size is opened in turn; larger content is searched as it streams by."""
DEPTH = 4
PARQUET, ZIP = b"PAR1", b"PK\x03\x04"
Codec = Literal["gzip", "zstd", "bz2"]
COMPRESSED: dict[bytes, Codec] = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd", b"BZh": "bz2"}
SEPARATORS = frozenset(b"\"'`<>,;|\t\n\r\0")
"""A trace that counts as a whole value only stands between two of these, or at an end of the file."""


@dataclass(frozen=True)
class Remnant:
    """A kind of forgotten content in a file; `samples` says of how many."""

    path: str
    kind: str
    samples: int


@dataclass
class Scan:
    """What was searched and what was found.

    Attributes:
        unread: files that could not be read or opened, each with the reason.
    """

    files: int = 0
    bytes: int = 0
    seconds: float = 0.0
    findings: list[Remnant] = field(default_factory=list)
    unread: list[dict[str, str]] = field(default_factory=list)


def scan(
    places: Iterable[Path],
    traces: Sequence[Trace],
    *,
    skip: Collection[Path] = (),
    may_hold: Callable[[Path, str], bool] = lambda path, kind: False,
    shown: Callable[[Path], str] = str,
) -> Scan:
    """Search files and folders for `traces`; links are not followed, and a file with two names counts once.

    Args:
        skip: folders that are left out.
        may_hold: whether a file may hold a kind of trace, such as the ledger sample ids.
        shown: how a finding spells a path.
    """
    started = time.monotonic()
    searcher = Searcher(traces)
    result = Scan()
    files = list(_files(places, skip))
    with progress("search for traces") as report:
        for number, path in enumerate(files, 1):
            report(number, len(files))
            try:
                with open(path, "rb") as stream:
                    hits = searcher.search(stream)
            except (OSError, pa.ArrowException, zipfile.BadZipFile, NotImplementedError, RuntimeError) as error:
                result.unread.append({"path": shown(path), "reason": type(error).__name__})
                continue
            result.files += 1
            result.bytes += path.stat().st_size
            for kind in sorted({kind for kind, _ in hits}):
                if not may_hold(path, kind):
                    owners = {owner for found, owner in hits if found == kind}
                    result.findings.append(Remnant(shown(path), kind, len(owners)))
    result.seconds = round(time.monotonic() - started, 2)
    return result


def _files(places: Iterable[Path], skip: Collection[Path]) -> Iterator[Path]:
    left_out = {path.resolve() for path in skip}
    seen: set[tuple[int, int]] = set()
    for path in (path for place in places for path in _within(place.resolve(), left_out)):
        if path.is_symlink() or not path.is_file():
            continue
        status = path.stat()
        if (status.st_dev, status.st_ino) not in seen:
            seen.add((status.st_dev, status.st_ino))
            yield path


def _within(place: Path, left_out: Collection[Path]) -> Iterator[Path]:
    if place.is_file():
        yield place
    for folder, inner, names in os.walk(place):
        here = Path(folder)
        inner[:] = sorted(name for name in inner if here / name not in left_out)
        yield from (here / name for name in sorted(names))


class Searcher:
    """Finds all traces in one pass over the bytes (Aho and Corasick, 1975), however many there are."""

    def __init__(self, traces: Sequence[Trace]) -> None:
        self._traces: dict[bytes, list[Trace]] = {}
        for trace in traces:
            self._traces.setdefault(trace.data, []).append(trace)
        self._data = list(self._traces)
        self._automaton = BytesAhoCorasick(self._data) if self._data else None
        self._overlap = max(map(len, self._data), default=0) + 1
        self._values = {trace.data.decode(): trace for trace in traces if trace.kind in ("caption", "sample id")}

    def search(self, stream: io.BufferedIOBase) -> set[tuple[str, int]]:
        """What a seekable stream betrays: kinds, and of which samples.

        Raises:
            OSError, pa.ArrowException, zipfile.BadZipFile: it cannot be read as what its first bytes say.
        """
        return self._any(stream, DEPTH) if self._automaton else set()

    def betrays(self, text: str) -> bool:
        """Whether a text holds a trace."""
        return bool(self._bytes(text.encode("utf-8", "surrogateescape"), at_start=True, at_end=True))

    def _any(self, stream: io.BufferedIOBase, depth: int) -> set[tuple[str, int]]:
        hits = self._raw(stream)
        stream.seek(0)
        head = stream.read(4)
        stream.seek(0)
        if head == PARQUET:
            return hits | self._parquet(stream)
        if depth == 0:
            return hits
        if head == ZIP:
            with zipfile.ZipFile(stream) as archive:
                for member in archive.infolist():
                    with archive.open(member) as content:
                        hits |= self._content(content, depth)
        for magic, codec in COMPRESSED.items():
            if head.startswith(magic):
                with pa.CompressedInputStream(pa.PythonFile(stream, mode="r"), codec) as content:
                    hits |= self._content(content, depth)
        return hits

    def _content(self, content: Any, depth: int) -> set[tuple[str, int]]:
        first = content.read(IN_MEMORY)
        hits = self._any(io.BytesIO(first), depth - 1)
        # Reading on overlaps what is known already, so that nothing hides where the pieces meet.
        return hits | self._raw(content, first[-self._overlap :]) if len(first) == IN_MEMORY else hits

    def _raw(self, stream: Any, before: bytes = b"") -> set[tuple[str, int]]:
        hits: set[tuple[str, int]] = set()
        piece = stream.read(PIECE)
        while piece:
            following = stream.read(PIECE)
            hits |= self._bytes(before + piece, at_start=not before, at_end=not following)
            before, piece = (before + piece)[-self._overlap :], following
        return hits

    def _bytes(self, data: bytes | memoryview, at_start: bool, at_end: bool) -> set[tuple[str, int]]:
        hits: set[tuple[str, int]] = set()
        if self._automaton is None:
            return hits
        for number, start, end in self._automaton.find_matches_as_indexes(data, overlapping=True):
            for trace in self._traces[self._data[number]]:
                opened = data[start - 1] in SEPARATORS if start else at_start
                closed = data[end] in SEPARATORS if end < len(data) else at_end
                if not trace.whole or (opened and closed):
                    hits.add((trace.kind, trace.owner))
        return hits

    def _parquet(self, stream: io.BufferedIOBase) -> set[tuple[str, int]]:
        hits: set[tuple[str, int]] = set()
        # Closing the reader must not close the file, which its owner closes.
        for batch in pq.ParquetFile(pa.PythonFile(stream, mode="r")).iter_batches(batch_size=1024):
            for column in batch.columns:
                for leaf in _leaves(column):
                    hits |= self._leaf(leaf)
        return hits

    def _leaf(self, leaf: pa.Array) -> set[tuple[str, int]]:
        hits: set[tuple[str, int]] = set()
        if pa.types.is_string(leaf.type) or pa.types.is_large_string(leaf.type):
            for value in pc.unique(leaf).to_pylist():
                if value in self._values:
                    hits.add((self._values[value].kind, self._values[value].owner))
        if (buffer := leaf.buffers()[-1]) is not None:
            hits |= self._bytes(memoryview(buffer).cast("B"), at_start=False, at_end=False)
        return hits


def _leaves(column: pa.Array) -> Iterator[pa.Array]:
    """The arrays of plain values that a nested column is made of."""
    if isinstance(column, pa.DictionaryArray):
        yield from _leaves(column.dictionary)
    elif isinstance(column, pa.StructArray):
        for number in range(column.type.num_fields):
            yield from _leaves(column.field(number))
    elif isinstance(column, pa.ListArray | pa.LargeListArray | pa.FixedSizeListArray):
        yield from _leaves(column.values)
    else:
        yield column
