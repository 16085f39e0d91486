"""One file of an embedding store: written from what is known already and what has to be encoded, and read."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence, Set
from pathlib import Path
from types import MappingProxyType
from typing import NamedTuple, cast

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from expunge.corpus.catalog import Catalog, Shard
from expunge.models.clip import Clip
from expunge.models.decoding import encode_pictures
from expunge.project.columns import binaries, read_table, strings
from expunge.project.costs import Phases
from expunge.project.files import atomic_path

META = b"expunge"
ROW_GROUP = 8192
VECTORS = ("image_embedding", "text_embedding")
TOWERS = ("image_tower", "text_tower")


class Encoded(NamedTuple):
    """How many embeddings of each kind were computed for a shard, how many samples needed none, and the seconds that
    parts of the work took: `reading`, `decoding` (all threads together), `waiting` for it, `encoding`, `writing`."""

    images: int
    texts: int
    kept: int
    seconds: Mapping[str, float] = MappingProxyType({})

    def __add__(self, other: Encoded) -> Encoded:  # type: ignore[override]  # sums, where a tuple would be longer
        names = self.seconds.keys() | other.seconds.keys()
        seconds = {name: self.seconds.get(name, 0.0) + other.seconds.get(name, 0.0) for name in sorted(names)}
        return Encoded(self.images + other.images, self.texts + other.texts, self.kept + other.kept, seconds)


def embed_shard(
    target: Path,
    catalog: Catalog,
    shard: Shard,
    clip: Clip,
    metadata: dict[str, str],
    forgotten: Set[str],
    batch_size: int,
    earlier: Sequence[Path],
) -> Encoded:
    """Write the embeddings of `shard` without `forgotten`.

    Args:
        metadata: what the file is made from.
        earlier: files that may hold embeddings by the same tower of the same shard; pictures are decoded, and captions
            encoded, only where none of them does.
    """
    phases = Phases()
    with phases("reading"):
        names = catalog.read_shard(shard, ["sample_id"])["sample_id"]
        ids = pa.array([name for name in strings(names) if name not in forgotten], pa.string())
        images, texts = (_known(earlier, ids, side, metadata) for side in (0, 1))
    anew = images is None, texts is None
    if images is None:
        with phases("reading"):
            table = _rows(catalog, shard, ids, ["sample_id", "image"])
        images = encode_pictures(clip, strings(table["sample_id"]), binaries(table["image"]), batch_size, phases)
    if texts is None:
        with phases("reading"):
            table = _rows(catalog, shard, ids, ["sample_id", "caption"])
        with phases("encoding"):
            texts = clip.encode_texts(strings(table["caption"]), batch_size).numpy()
    columns = [ids, _column(images, clip.embed_dim), _column(texts, clip.embed_dim)]
    fields: list[pa.Field] = [pa.field("sample_id", pa.string(), False)]
    fields += [pa.field(name, column.type, False) for name, column in zip(VECTORS, columns[1:], strict=True)]
    schema = pa.schema(fields, metadata={META: json.dumps(metadata, sort_keys=True)})
    with phases("writing"), atomic_path(target) as partial:
        pq.write_table(
            pa.Table.from_arrays(columns, schema=schema),
            partial,
            compression="none",
            use_dictionary=False,
            row_group_size=ROW_GROUP,
        )
    new_images, new_texts, none = (len(ids) if one else 0 for one in (*anew, not any(anew)))
    return Encoded(new_images, new_texts, none, phases.seconds)


def metadata_of(schema: pa.Schema) -> dict[str, str]:
    """What a file of a store says that it was made from."""
    return json.loads((schema.metadata or {}).get(META, b"{}"))


def matrix(column: pa.ChunkedArray | pa.Array) -> np.ndarray:
    """A column of vectors as float16 [N, D]."""
    width = column.type.list_size
    whole = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    values = cast(pa.FixedSizeListArray, whole).flatten().to_numpy(zero_copy_only=False)
    return values.reshape(-1, width).astype(np.float16, copy=False)


def _known(earlier: Sequence[Path], ids: pa.Array, side: int, metadata: dict[str, str]) -> np.ndarray | None:
    """The embeddings of `ids` on one side, float16 [N, D], from the first file that holds them all."""
    for path in earlier:
        try:
            found = metadata_of(pq.read_schema(path))
            if any(found.get(key) != metadata[key] for key in ("catalog_shard", TOWERS[side])):
                continue
            table = read_table(path, ["sample_id", VECTORS[side]])
        except (OSError, pa.ArrowException):
            continue
        rows = pc.index_in(ids, value_set=table["sample_id"].combine_chunks())
        if not rows.null_count:
            return matrix(table[VECTORS[side]])[rows.to_numpy(zero_copy_only=False).astype(np.int64)]
    return None


def _rows(catalog: Catalog, shard: Shard, ids: pa.Array, columns: list[str]) -> pa.Table:
    table = catalog.read_shard(shard, columns)
    return table.filter(pc.is_in(table["sample_id"], value_set=ids))


def _column(vectors: np.ndarray, width: int) -> pa.FixedSizeListArray:
    values = pa.array(vectors.astype(np.float16, copy=False).reshape(-1), pa.float16())
    item = pa.field("element", pa.float16(), False)
    # pyarrow's stubs know no `type` here, by which alone the item gets its name and is not nullable.
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(item, width))  # type: ignore[call-overload]
