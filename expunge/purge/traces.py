"""What would betray that a forgotten sample is still there: pieces of its picture, vectors, captions, and its id.

A trace is a short run of bytes that nothing retained holds. Pictures give windows of the encoded file, of the same in
base64 and of the decoded pixels; vectors give their first and last half as they lie in embeddings (float16) and in
indexes (float32). Traces are gathered before anything is removed, kept in the journal of the purge, whose folder goes
with its last step, and appear in no report.
"""

from __future__ import annotations

import base64
import json
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from ahocorasick_rs import BytesAhoCorasick

from expunge.corpus.catalog import Catalog
from expunge.project.columns import read_table, strings
from expunge.project.files import write_bytes

ENCODED, PIXELS = 36, 96
"""Bytes of a window; the first is a multiple of three, so that its base64 is a part of the file's."""
PLACES = 16
KEPT_WINDOWS = 3
VECTOR_BYTES = 32
SHORTEST_VALUE = 4
PLAIN_TEXT = 16
"""A caption of one word with fewer bytes is searched as a whole value only: `building` is in any prose."""


class Trace(NamedTuple):
    """One run of bytes to search for.

    Attributes:
        kind: picture, base64, pixels, vector, caption or sample id.
        data: the bytes.
        whole: it counts only between quotes or separators, as a whole value.
        owner: number of the sample that it betrays.
    """

    kind: str
    data: bytes
    whole: bool
    owner: int


def gather(catalog: Catalog, forgotten: Set[str], embeddings: Iterable[Path]) -> list[Trace]:
    """The traces of the samples `forgotten`, those that retained samples share left out.

    Args:
        embeddings: folders of stores that were made before the samples were forgotten.
    """
    number = {sample_id: index for index, sample_id in enumerate(sorted(forgotten))}
    candidates = [
        trace
        for table in catalog.tables()
        for row in table.filter(_chosen(table, forgotten)).to_pylist()
        for trace in _of_sample(row, number[row["sample_id"]])
    ]
    traces = _at_most(_not_retained(candidates, catalog, forgotten), KEPT_WINDOWS)
    traces += [Trace("sample id", name.encode(), True, owner) for name, owner in number.items() if _telling(name)]
    for folder in embeddings:
        for path in sorted(folder.glob("*.parquet")):
            traces += _of_vectors(path, forgotten, number)
    return list(dict.fromkeys(traces))


def save(traces: Sequence[Trace], path: Path) -> None:
    """Write traces for a purge to resume from."""
    rows = [[trace.kind, base64.b64encode(trace.data).decode(), trace.whole, trace.owner] for trace in traces]
    write_bytes(path, json.dumps(rows).encode())


def load(path: Path) -> list[Trace]:
    """Read what `save` wrote."""
    rows = json.loads(path.read_text(encoding="utf-8"))
    return [Trace(kind, base64.b64decode(data), whole, owner) for kind, data, whole, owner in rows]


def ids_anywhere(traces: Iterable[Trace]) -> list[Trace]:
    """The same traces, of which ids count inside of other text as well: a place such as `0.tar/ID` names the sample."""
    return [trace._replace(whole=trace.whole and trace.kind != "sample id") for trace in traces]


def coverage(traces: Iterable[Trace]) -> dict[str, int]:
    """Kind → how many of the forgotten samples it can betray."""
    return dict(sorted(Counter(kind for kind, _ in {(trace.kind, trace.owner) for trace in traces}).items()))


def _chosen(table: pa.Table, forgotten: Set[str]) -> pa.BooleanArray | pa.ChunkedArray:
    return pc.is_in(table["sample_id"], value_set=pa.array(sorted(forgotten), pa.string()))


def _of_sample(row: dict, owner: int) -> Iterator[Trace]:
    for window in _windows(row["image"], ENCODED):
        yield Trace("picture", window, False, owner)
        yield Trace("base64", base64.b64encode(window), False, owner)
    for window in _windows(_pixels(row), PIXELS):
        yield Trace("pixels", window, False, owner)
    for caption in row["captions"]:
        text = caption["text"]
        whole = len(text.split()) < 2 and len(text.encode()) < PLAIN_TEXT
        if _telling(text):
            yield Trace("caption", text.encode(), whole, owner)
            if not text.isascii():
                yield Trace("caption", json.dumps(text)[1:-1].encode(), whole, owner)


def _pixels(row: dict) -> bytes:
    from expunge.corpus.pictures import decode_image

    return decode_image(row["image"], row["sample_id"]).tobytes()


def _windows(data: bytes, width: int) -> list[bytes]:
    """Pieces of `data` at evenly spread places, the least monotonous first."""
    if len(data) < width:
        return [data] if len(data) >= ENCODED // 3 else []
    places = {int(place) // 3 * 3 for place in np.linspace(0, len(data) - width, PLACES)}
    windows = sorted({data[place : place + width] for place in places}, key=lambda piece: (-len(set(piece)), piece))
    return [window for window in windows if len(set(window)) > width // 12]


def _telling(text: str) -> bool:
    """Whether a text is worth a search: `2049` is found in any file of numbers."""
    return len(text.encode()) >= SHORTEST_VALUE and not text.isdigit()


def _not_retained(candidates: list[Trace], catalog: Catalog, forgotten: Set[str]) -> list[Trace]:
    """`candidates` without those that a retained sample holds too."""
    if not candidates:
        return []
    known = {data: index for index, data in enumerate(dict.fromkeys(trace.data for trace in candidates))}
    automaton = BytesAhoCorasick(list(known))
    shared: set[int] = set()
    for table in catalog.tables():
        for row in table.filter(pc.invert(_chosen(table, forgotten))).to_pylist():
            words = [row["class"], row["superclass"], row["concept"], *(caption["text"] for caption in row["captions"])]
            text = "\n".join(words)
            encoded = row["image"]
            for data in (encoded, base64.b64encode(encoded), _pixels(row), text.encode(), json.dumps(text).encode()):
                shared |= {found for found, _, _ in automaton.find_matches_as_indexes(data, overlapping=True)}
    return [trace for trace in candidates if known[trace.data] not in shared]


def _at_most(traces: Iterable[Trace], count: int) -> list[Trace]:
    """The first `count` windows of each sample and kind; of captions, all."""
    taken: Counter[tuple[str, int]] = Counter()
    chosen = []
    for trace in traces:
        taken[trace.kind, trace.owner] += 1
        if trace.kind == "caption" or taken[trace.kind, trace.owner] <= count:
            chosen.append(trace)
    return chosen


def _of_vectors(path: Path, forgotten: Set[str], number: dict[str, int]) -> Iterator[Trace]:
    table = read_table(path)
    table = table.filter(_chosen(table, forgotten))
    owners = [number[sample_id] for sample_id in strings(table["sample_id"])]
    for name in table.column_names[1:]:
        for owner, values in zip(owners, table[name].to_pylist(), strict=True):
            vector = np.array(values, np.float16)
            for data in (vector.tobytes(), vector.astype(np.float32).tobytes()):
                for piece in {data[:VECTOR_BYTES], data[-VECTOR_BYTES:]}:
                    if len(set(piece)) > VECTOR_BYTES // 4:
                        yield Trace("vector", piece, False, owner)
