"""Take rows out of a catalog, shard by shard, and check that nothing else has changed."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from expunge.corpus.catalog import MANIFEST, PURGED, Catalog, listed_shards
from expunge.project.columns import read_table
from expunge.project.errors import ExpungeError
from expunge.project.files import (
    atomic_path,
    canonical_json,
    digest_of,
    read_json,
    sha256_bytes,
    sha256_file,
    write_json,
)


def remove_rows(folder: Path, forgotten: Set[str], data_version: str | None) -> None:
    """Rewrite the shards in `folder` that hold a forgotten sample; the list says what they were and what they are.

    Doing it again, also after a kill half-way, gives the same files. A shard may end without rows: its embeddings and
    its place in the list stay.

    Args:
        data_version: DVC's name of the catalog before this purge, kept so that older registrations can be checked.
    """
    manifest = read_json(folder / MANIFEST)
    purged = manifest.get(PURGED, {"data_versions": [], "shards": {}})
    for shard in listed_shards(folder, manifest):
        table = read_table(shard.path)
        kept = table.filter(pc.invert(pc.is_in(table["sample_id"], pa.array(sorted(forgotten), pa.string()))))
        if kept.num_rows < table.num_rows:
            with atomic_path(shard.path) as partial:
                pq.write_table(kept, partial, compression="zstd", row_group_size=max(1, kept.num_rows))
        if kept.num_rows < shard.rows:
            now = {"rows": kept.num_rows, "size": shard.path.stat().st_size, "sha256": sha256_file(shard.path)}
            purged["shards"][shard.path.name] = now
    if data_version and data_version not in purged["data_versions"]:
        purged["data_versions"].append(data_version)
    write_json(folder / MANIFEST, manifest | {PURGED: purged})


def retained_digest(catalog: Catalog, forgotten: Set[str]) -> str:
    """Hex SHA-256 over id and content digest of every sample but the forgotten ones, recomputed from their bytes.

    Raises:
        ExpungeError: a retained sample is not what its content digest says.
    """
    found = []
    for table in catalog.tables(["sample_id", "captions", "content_sha256", "image"]):
        for row in table.to_pylist():
            if row["sample_id"] in forgotten:
                continue
            captions = [list(caption.values()) for caption in row["captions"]]
            if sha256_bytes(row["image"] + b"\0" + canonical_json(captions)) != row["content_sha256"]:
                raise ExpungeError(f"Sample {row['sample_id']} is not what its digest says; it is damaged.")
            found.append([row["sample_id"], row["content_sha256"]])
    return digest_of(found)
