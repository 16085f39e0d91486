"""The catalog: every sample of one data version, as sharded Parquet with the image bytes inside.

A catalog is a folder of `part-*.parquet` files of a bounded number of rows and a `catalog.json` that lists them, in
order, with their SHA-256, the source, its licence and credit. Its digest is the digest of that list, so two catalogs
with the same samples have the same digest on any machine with the same pyarrow. Writing and reading stream: one shard
is in memory at a time.

A purge takes rows out and leaves the list as it was: what was made from the catalog still names the digests that it
was made from. The list then says under `purged` what each shorter shard is now.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeVar

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from expunge.corpus.sample import METADATA_COLUMNS, SCHEMA, Sample, Source, Split, vector_id
from expunge.project.columns import binaries, read_table, strings
from expunge.project.errors import ExpungeError
from expunge.project.files import (
    atomic_path,
    clear_partials,
    digest_of,
    read_json,
    sha256_file,
    write_json,
)

MANIFEST = "catalog.json"
PURGED = "purged"
FORMAT = 1
Item = TypeVar("Item")


@dataclass(frozen=True)
class Shard:
    """One Parquet file of a catalog and what its list entry says of it.

    Attributes:
        sha256: of the file as it was first written; embeddings name it, and a purge does not change it.
        present_sha256: of the file as it is now, without the rows that were purged.
    """

    path: Path
    rows: int
    size: int
    sha256: str
    present_sha256: str


def listed_shards(folder: Path, manifest: dict) -> list[Shard]:
    """The shards of a catalog in `folder`, as its list says they are now."""
    purged = manifest.get(PURGED, {}).get("shards", {})
    shards = []
    for entry in manifest["shards"]:
        now = entry | purged.get(entry["file"], {})
        shards.append(Shard(folder / entry["file"], now["rows"], now["size"], entry["sha256"], now["sha256"]))
    return shards


def manifest_digest(manifest: dict) -> str:
    """Hex SHA-256 over the list of shards and their digests as they were first written."""
    return digest_of({key: value for key, value in manifest.items() if key != PURGED})


def write_catalog(folder: Path, source: Source[Sample], rows_per_shard: int) -> Catalog:
    """Write the samples of `source`, each with its split, to `folder`, one shard at a time, and return the catalog.

    Raises:
        ExpungeError: two samples share an id (or its 63-bit hash), a sample has no caption or image, or the source
            is empty.
    """
    folder = Path(folder)
    seen: dict[int, str] = {}
    shards: list[dict[str, Any]] = []
    for samples in cut(source.samples, lambda sample: sample.sample_id, rows_per_shard):
        for sample in samples:
            if not sample.captions or not sample.image:
                raise ExpungeError(f"Sample {sample.sample_id} has no {'image' if sample.captions else 'caption'}.")
            key = vector_id(sample.sample_id)
            if key in seen:
                raise ExpungeError(f"Samples {seen[key]} and {sample.sample_id} have the same id; ids must be unique.")
            seen[key] = sample.sample_id
        table = pa.Table.from_pylist([sample.row() for sample in samples], schema=SCHEMA)
        shards.append(write_shard(folder / shard_name(samples[0].sample_id), table))
    return finish_catalog(folder, source, shards)


def cut(items: Iterable[Item], id_of: Callable[[Item], str], rows_per_shard: int) -> Iterator[list[Item]]:
    """Consecutive items in pieces of at most `rows_per_shard`, most of them half as long or longer.

    Pieces end where the hash of an id says so, and where they are full: an item that is added or taken out changes the
    piece that it lies in, seldom a few after it, and leaves the others as they are (content-defined chunking;
    Muthitacharoen et al., A Low-bandwidth Network File System, SOSP 2001).
    """
    piece: list[Item] = []
    for item in items:
        piece.append(item)
        ends = vector_id(id_of(item)) % rows_per_shard < 2
        if len(piece) == rows_per_shard or (ends and len(piece) > rows_per_shard // 4):
            yield piece
            piece = []
    if piece:
        yield piece


def shard_name(first_id: str) -> str:
    """The file name of the shard that begins with this sample; it does not change with the shards before it."""
    return f"part-{vector_id(first_id):016x}.parquet"


def write_shard(path: Path, table: pa.Table) -> dict[str, Any]:
    """Write one shard, atomically; returns its entry in the catalog's list."""
    with atomic_path(path) as partial:
        pq.write_table(table, partial, compression="zstd", row_group_size=max(1, table.num_rows))
    return {"file": path.name, "rows": table.num_rows, "size": path.stat().st_size, "sha256": sha256_file(path)}


def finish_catalog(folder: Path, source: Source[Any], shards: list[dict[str, Any]]) -> Catalog:
    """Write the list of `shards`, remove files of earlier builds that are not in it, and open the catalog.

    Raises:
        ExpungeError: there are no shards.
    """
    if not shards:
        raise ExpungeError(f"Source {source.name} yields no sample; check the `catalog` block of params.yaml.")
    listed = {entry["file"] for entry in shards}
    for stale in folder.glob("*.parquet"):
        if stale.name not in listed:
            stale.unlink()
    clear_partials(folder)
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "source": source.name,
            "source_version": source.version,
            "license": source.license,
            "credit": source.credit,
            "samples": sum(entry["rows"] for entry in shards),
            "shards": shards,
        },
    )
    return Catalog(folder)


class Catalog:
    """A catalog on disk, opened for reading.

    Opening checks that every listed shard is there with the size it was written with; reading a shard checks its
    SHA-256 once.

    Raises:
        ExpungeError: the list or a shard is missing, truncated or changed.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = Path(folder)
        self.manifest: dict = read_json(self.folder / MANIFEST)
        try:
            self.shards = listed_shards(self.folder, self.manifest)
        except (KeyError, TypeError):
            raise ExpungeError(f"{self.folder / MANIFEST} does not list shards; run `dvc repro catalog`.") from None
        self._verified: set[Path] = set()
        for shard in self.shards:
            if not shard.path.is_file():
                raise ExpungeError(f"Catalog shard {shard.path} is missing; run `dvc repro -f catalog` to rebuild it.")
            if shard.path.stat().st_size != shard.size:
                raise ExpungeError(
                    f"Catalog shard {shard.path} is truncated or changed ({shard.path.stat().st_size} bytes, "
                    f"{shard.size} expected); run `dvc repro -f catalog` to rebuild it."
                )

    def __len__(self) -> int:
        return sum(shard.rows for shard in self.shards)

    @property
    def digest(self) -> str:
        """Hex SHA-256 over the list of shards and their digests; a purge does not change it."""
        return manifest_digest(self.manifest)

    def read_shard(self, shard: Shard, columns: Sequence[str] | None = None) -> pa.Table:
        """One shard as a table of `columns` (all by default)."""
        if shard.path not in self._verified:
            if sha256_file(shard.path) != shard.present_sha256:
                raise ExpungeError(
                    f"Catalog shard {shard.path} does not have the digest it was written with; "
                    "run `dvc repro -f catalog` to rebuild it."
                )
            self._verified.add(shard.path)
        return read_table(shard.path, columns or None)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The shards in order, one table in memory at a time."""
        for shard in self.shards:
            yield self.read_shard(shard, columns)

    @cached_property
    def metadata(self) -> pa.Table:
        """Every column but the pixels, for all samples: about 0.5 kB a sample."""
        return pa.concat_tables(self.tables(METADATA_COLUMNS)).combine_chunks()

    def pictures(self, ids: Set[str]) -> Iterator[tuple[str, bytes]]:
        """Id and encoded picture of the samples `ids`, in catalog order; of shards without any only ids are read."""
        wanted = pa.array(sorted(ids), pa.string())
        for shard in self.shards:
            here = pc.is_in(self.read_shard(shard, ["sample_id"])["sample_id"], wanted)
            if pc.any(here).as_py():
                table = self.read_shard(shard, ["sample_id", "image"]).filter(here)
                yield from zip(strings(table["sample_id"]), binaries(table["image"]), strict=True)

    @cached_property
    def ids(self) -> list[str]:
        """All sample ids in catalog order."""
        return strings(self.metadata["sample_id"])

    def split_ids(self, split: Split) -> set[str]:
        """Ids of the samples in `split`."""
        splits = self.metadata["split"].to_pylist()
        return {sample_id for sample_id, found in zip(self.ids, splits, strict=True) if found == split}

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Sample id → its row number in catalog order."""
        return {sample_id: row for row, sample_id in enumerate(self.ids)}
