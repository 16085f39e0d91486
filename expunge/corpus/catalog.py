"""The catalog: every sample of one data version, as sharded Parquet with the image bytes inside.

A catalog is a folder of `part-NNNNN.parquet` files of a fixed number of rows and a `catalog.json` that lists them with
their SHA-256, the source, its licence and credit. Its digest is the digest of that list, so two catalogs with the
same samples have the same digest on any machine with the same pyarrow. Writing and reading stream: one shard is in
memory at a time.

A purge takes rows out and leaves the list as it was: what was made from the catalog still names the digests that it
was made from. The list then says under `purged` what each shorter shard is now.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import cast

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.corpus.sample import METADATA_COLUMNS, SCHEMA, Sample, Source, Split, vector_id
from expunge.project.columns import strings
from expunge.project.errors import ExpungeError
from expunge.project.files import (
    atomic_path,
    digest_of,
    read_json,
    sha256_file,
    write_json,
)

MANIFEST = "catalog.json"
PURGED = "purged"
FORMAT = 1


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


def write_catalog(folder: Path, source: Source, rows_per_shard: int) -> Catalog:
    """Write `source` to `folder`, one shard at a time, and return the catalog.

    Raises:
        ExpungeError: two samples share an id (or its 63-bit hash), a sample has no caption or image, or the source
            is empty.
    """
    folder = Path(folder)
    seen: dict[int, str] = {}
    shards: list[dict] = []
    for number, samples in enumerate(_chunks(source.samples, rows_per_shard)):
        for sample in samples:
            if not sample.captions or not sample.image:
                raise ExpungeError(f"Sample {sample.sample_id} has no {'image' if sample.captions else 'caption'}.")
            key = vector_id(sample.sample_id)
            if key in seen:
                raise ExpungeError(f"Samples {seen[key]} and {sample.sample_id} have the same id; ids must be unique.")
            seen[key] = sample.sample_id
        path = folder / f"part-{number:05d}.parquet"
        table = pa.Table.from_pylist([sample.row() for sample in samples], schema=SCHEMA)
        with atomic_path(path) as partial:
            pq.write_table(table, partial, compression="zstd", row_group_size=rows_per_shard)
        shards.append(
            {"file": path.name, "rows": len(samples), "size": path.stat().st_size, "sha256": sha256_file(path)}
        )
    if not shards:
        raise ExpungeError(f"Source {source.name} yields no sample; check the `catalog` block of params.yaml.")
    write_json(
        folder / MANIFEST,
        {
            "format": FORMAT,
            "source": source.name,
            "source_version": source.version,
            "license": source.license,
            "credit": source.credit,
            "samples": len(seen),
            "shards": shards,
        },
    )
    return Catalog(folder)


def _chunks(samples: Iterable[Sample], size: int) -> Iterator[list[Sample]]:
    chunk: list[Sample] = []
    for sample in samples:
        chunk.append(sample)
        if len(chunk) == size:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


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
        return pq.read_table(shard.path, columns=list(columns) if columns else None)

    def tables(self, columns: Sequence[str] | None = None) -> Iterator[pa.Table]:
        """The shards in order, one table in memory at a time."""
        for shard in self.shards:
            yield self.read_shard(shard, columns)

    @cached_property
    def metadata(self) -> pa.Table:
        """Every column but the pixels, for all samples: about 0.5 kB a sample."""
        return pa.concat_tables(self.tables(METADATA_COLUMNS)).combine_chunks()

    def pictures(self, ids: Set[str]) -> Iterator[tuple[str, bytes]]:
        """Id and encoded picture of the samples `ids`, in catalog order."""
        for table in self.tables(["sample_id", "image"]):
            for name, picture in zip(strings(table["sample_id"]), table["image"], strict=True):
                if name in ids:
                    yield name, cast(bytes, picture.as_py())

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
