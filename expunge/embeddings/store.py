"""The embedding store: image and text embeddings of a catalog under one model, shard by shard.

One Parquet file per catalog shard, float16, without the samples that are to be forgotten. Each file's schema metadata
names the model, the preprocessing and the catalog shard that it came from. That makes two things possible: a killed
run keeps the shards that fit and computes the rest, and a reader refuses vectors of two models side by side.

Layout after measurements: dictionary encoding is off (it makes float16 reads three times slower), no compression.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import torch

from expunge.corpus.catalog import Catalog, Shard
from expunge.models.clip import Clip, decode_image
from expunge.project.columns import strings
from expunge.project.errors import ExpungeError
from expunge.project.files import atomic_path, clear_partials, digest_of

META = b"expunge"
ROW_GROUP = 8192


@dataclass(frozen=True)
class Origin:
    """What every shard of one store was made from; all values are hex SHA-256."""

    model: str
    preprocessing: str
    catalog: str
    forgotten: str

    def of_shard(self, shard: Shard) -> dict[str, str]:
        """The metadata of the embedding file that belongs to catalog shard `shard`."""
        return {
            "model": self.model,
            "preprocessing": self.preprocessing,
            "forgotten": self.forgotten,
            "catalog_shard": shard.sha256,
        }


@dataclass(frozen=True)
class Embeddings:
    """A whole store in memory.

    Attributes:
        ids: sample ids, in catalog order.
        images: unit image embeddings, float32 [N, D].
        texts: unit embeddings of the canonical captions, float32 [N, D].
        model: digest of the model that made them.
    """

    ids: list[str]
    images: np.ndarray
    texts: np.ndarray
    model: str


def origin(catalog: Catalog, model: str, preprocessing: str, forgotten: set[str]) -> Origin:
    """The origin of a store made by `model` from `catalog` without `forgotten`."""
    return Origin(model, preprocessing, catalog.digest, digest_of(sorted(forgotten)))


def embed_catalog(
    folder: Path,
    catalog: Catalog,
    clip: Clip,
    made_from: Origin,
    forgotten: set[str],
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
) -> tuple[int, int]:
    """Write the store of `catalog` without `forgotten`; shards that already fit are kept.

    Returns:
        How many samples were encoded, and how many were kept from an earlier run.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    clear_partials(folder)
    expected = {shard.path.name for shard in catalog.shards}
    for stale in folder.glob("*.parquet"):
        if stale.name not in expected:
            stale.unlink()
    encoded = kept = 0
    for number, shard in enumerate(catalog.shards, 1):
        target = folder / shard.path.name
        metadata = made_from.of_shard(shard)
        if (rows := _rows_if_made_from(target, metadata)) is not None:
            kept += rows
        else:
            encoded += _embed_shard(target, catalog, shard, clip, metadata, forgotten, batch_size)
        if progress:
            progress(number, len(catalog.shards))
    return encoded, kept


def read_embeddings(folder: Path, catalog: Catalog, made_from: Origin | None = None) -> Embeddings:
    """Read a store, checking that all its files fit together, the catalog and (if given) `made_from`.

    Raises:
        ExpungeError: a file is missing or truncated, or holds vectors of another model, preprocessing or catalog.
    """
    tables: list[pa.Table] = []
    common: dict[str, str] = {}
    for shard in catalog.shards:
        path = Path(folder) / shard.path.name
        try:
            table = pq.read_table(path)
        except FileNotFoundError:
            raise ExpungeError(f"{path} is missing; run `dvc repro` to embed the catalog.") from None
        except (pa.ArrowException, OSError) as error:
            raise ExpungeError(f"{path} is truncated or damaged ({error}); delete it and run `dvc repro`.") from error
        metadata = _metadata(table.schema)
        shared = {key: value for key, value in metadata.items() if key != "catalog_shard"}
        common = common or shared
        if metadata.get("catalog_shard") != shard.sha256:
            raise ExpungeError(f"{path} was made from another version of the catalog; run `dvc repro`.")
        if shared != common or (made_from and metadata != made_from.of_shard(shard)):
            raise ExpungeError(f"{path} holds vectors of another model than its neighbours or its release; refused.")
        tables.append(table)
    table = pa.concat_tables(tables).combine_chunks()
    images, texts = (_matrix(table[name]) for name in ("image_embedding", "text_embedding"))
    return Embeddings(strings(table["sample_id"]), images, texts, common["model"])


def _rows_if_made_from(path: Path, metadata: dict[str, str]) -> int | None:
    try:
        found = pq.read_metadata(path)
    except (FileNotFoundError, pa.ArrowException, OSError):
        return None
    return found.num_rows if _metadata(found.schema.to_arrow_schema()) == metadata else None


def _metadata(schema: pa.Schema) -> dict[str, str]:
    return json.loads((schema.metadata or {}).get(META, b"{}"))


def _embed_shard(
    target: Path,
    catalog: Catalog,
    shard: Shard,
    clip: Clip,
    metadata: dict[str, str],
    forgotten: set[str],
    batch_size: int,
) -> int:
    table = catalog.read_shard(shard, ["sample_id", "caption", "image"])
    rows = [row for row in table.to_pylist() if row["sample_id"] not in forgotten]
    images, texts = [], []
    for start in range(0, len(rows), batch_size):
        batch = rows[start : start + batch_size]
        decoded = [clip.to_uint8(clip.preprocess(decode_image(row["image"], row["sample_id"]))) for row in batch]
        images.append(clip.encode_images(torch.stack(decoded), batch_size))
        texts.append(clip.encode_texts([row["caption"] for row in batch], batch_size))
    columns = [
        pa.array([row["sample_id"] for row in rows], pa.string()),
        _column(images, clip.embed_dim),
        _column(texts, clip.embed_dim),
    ]
    schema = pa.schema(
        [pa.field("sample_id", pa.string(), False)]
        + [
            pa.field(name, column.type, False)
            for name, column in zip(("image_embedding", "text_embedding"), columns[1:], strict=True)
        ],
        metadata={META: json.dumps(metadata, sort_keys=True)},
    )
    with atomic_path(target) as partial:
        pq.write_table(
            pa.Table.from_arrays(columns, schema=schema),
            partial,
            compression="none",
            use_dictionary=False,
            row_group_size=ROW_GROUP,
        )
    return len(rows)


def _column(batches: list[torch.Tensor], width: int) -> pa.FixedSizeListArray:
    matrix = torch.cat(batches).numpy().astype(np.float16) if batches else np.empty((0, width), np.float16)
    values = pa.array(matrix.reshape(-1), pa.float16())
    item = pa.field("element", pa.float16(), False)
    # pyarrow's stubs know no `type` here, by which alone the item gets its name and is not nullable.
    return pa.FixedSizeListArray.from_arrays(values, type=pa.list_(item, width))  # type: ignore[call-overload]


def _matrix(column: pa.ChunkedArray) -> np.ndarray:
    width = column.type.list_size
    array = cast(pa.FixedSizeListArray, column.combine_chunks())
    return array.flatten().to_numpy(zero_copy_only=False).reshape(-1, width).astype(np.float32)
