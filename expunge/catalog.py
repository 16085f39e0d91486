"""The catalog: every sample of one data version, as sharded Parquet with the image bytes inside.

A catalog is a folder of `part-NNNNN.parquet` files of a fixed number of rows and a `catalog.json` that lists them with
their SHA-256, the source, its licence and credit. Its digest is the digest of that list, so two catalogs with the
same samples have the same digest on any machine with the same pyarrow. Writing and reading stream: one shard is in
memory at a time.

A purge takes rows out and leaves the list as it was: what was made from the catalog still names the digests that it
was made from. The list then says under `purged` what each shorter shard is now.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.errors import ExpungeError
from expunge.files import atomic_path, canonical_json, digest_of, read_json, sha256_bytes, sha256_file, write_json

Split = Literal["train", "calibration", "test"]
"""`train` is what the base model learns from. Neither of the others is ever trained on: `calibration` estimates what
a never-seen pair looks like, `test` is read by the evaluation alone."""

MANIFEST = "catalog.json"
PURGED = "purged"
FORMAT = 1

CAPTION_TYPE = pa.struct([pa.field("language", pa.string(), False), pa.field("text", pa.string(), False)])
SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), False),
        pa.field("class", pa.string(), False),
        pa.field("superclass", pa.string(), False),
        pa.field("subject_id", pa.string()),
        pa.field("concept", pa.string(), False),
        pa.field("variant", pa.string()),
        pa.field("split", pa.string(), False),
        pa.field("caption", pa.string(), False),
        pa.field("captions", pa.list_(pa.field("item", CAPTION_TYPE, False)), False),
        pa.field("content_sha256", pa.string(), False),
        pa.field("image", pa.binary(), False),
    ]
)
"""One row a sample. `caption` is the canonical one, the first of `captions`; `image` is an encoded picture."""

METADATA_COLUMNS = tuple(name for name in SCHEMA.names if name != "image")
"""All columns but the pixels: what fits in memory for selection and retrieval."""


class Caption(NamedTuple):
    """One text that describes a sample, with its BCP 47 language."""

    language: str
    text: str


@dataclass(frozen=True)
class Sample:
    """One image with its captions, as a source yields it."""

    sample_id: str
    class_: str
    superclass: str
    subject_id: str | None
    concept: str
    variant: str | None
    split: Split
    captions: tuple[Caption, ...]
    image: bytes

    @property
    def content_sha256(self) -> str:
        """Digest of what a model could learn from: the image bytes and every caption."""
        return sha256_bytes(self.image + b"\0" + canonical_json(self.captions))

    @classmethod
    def of_row(cls, row: dict) -> Sample:
        """The sample of a row of `SCHEMA`."""
        plain = {name: row[name] for name in ("sample_id", "superclass", "subject_id", "concept", "variant", "split")}
        captions = tuple(Caption(**caption) for caption in row["captions"])
        return cls(**plain, class_=row["class"], captions=captions, image=row["image"])

    def row(self) -> dict:
        """The sample as a row of `SCHEMA`."""
        return {
            "sample_id": self.sample_id,
            "class": self.class_,
            "superclass": self.superclass,
            "subject_id": self.subject_id,
            "concept": self.concept,
            "variant": self.variant,
            "split": self.split,
            "caption": self.captions[0].text,
            "captions": [caption._asdict() for caption in self.captions],
            "content_sha256": self.content_sha256,
            "image": self.image,
        }


@dataclass(frozen=True)
class Source:
    """Samples with the provenance that their licence asks to be kept beside them."""

    name: str
    version: str
    license: str
    credit: str
    samples: Iterable[Sample]


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


def vector_id(sample_id: str) -> int:
    """The 63-bit id under which an index stores a sample: it comes from the name, so it survives every rebuild."""
    return int.from_bytes(hashlib.sha256(sample_id.encode()).digest()[:8]) >> 1


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

    @cached_property
    def ids(self) -> list[str]:
        """All sample ids in catalog order."""
        return self.metadata["sample_id"].to_pylist()

    def split_ids(self, split: Split) -> set[str]:
        """Ids of the samples in `split`."""
        splits = self.metadata["split"].to_pylist()
        return {sample_id for sample_id, found in zip(self.ids, splits, strict=True) if found == split}

    @cached_property
    def row_of(self) -> dict[str, int]:
        """Sample id → its row number in catalog order."""
        return {sample_id: row for row, sample_id in enumerate(self.ids)}
