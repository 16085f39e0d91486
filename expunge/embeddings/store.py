"""The embedding store: image and text embeddings of a catalog under one model, shard by shard.

One Parquet file per catalog shard, float16, without the samples that are to be forgotten. Each file's schema metadata
names the model, its towers, the preprocessing and the catalog shard that it came from. So a killed run keeps the shards
that fit and computes the rest, a release takes over what its parent's store says of a tower that did not change, and a
reader refuses vectors of two models side by side.

Layout after measurements: dictionary encoding is off (it makes float16 reads three times slower), no compression.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from expunge.corpus.catalog import Catalog, Shard
from expunge.embeddings.shard import VECTORS, Encoded, embed_shard, matrix, metadata_of
from expunge.models.clip import Clip
from expunge.models.towers import Towers, tower_digests
from expunge.project.columns import strings
from expunge.project.errors import ExpungeError
from expunge.project.files import clear_partials, digest_of
from expunge.project.scratch import let_go, scratch
from expunge.project.workers import in_order


@dataclass(frozen=True)
class Origin:
    """What every shard of one store was made from; all values are hex SHA-256."""

    model: str
    preprocessing: str
    catalog: str
    forgotten: str
    towers: Towers

    def of_shard(self, shard: Shard) -> dict[str, str]:
        """The metadata of the embedding file that belongs to catalog shard `shard`."""
        return {
            "model": self.model,
            "preprocessing": self.preprocessing,
            "forgotten": self.forgotten,
            "image_tower": self.towers.image,
            "text_tower": self.towers.text,
            "catalog_shard": shard.sha256,
        }


@dataclass(frozen=True)
class Embeddings:
    """A whole store; what is not asked for is not read.

    Attributes:
        ids: sample ids, in catalog order.
        model: digest of the model that made them.
        towers: digests of its towers.
        files: one for each shard of the catalog.
    """

    ids: list[str]
    model: str
    towers: Towers
    files: tuple[Path, ...]

    @cached_property
    def images(self) -> np.ndarray:
        """Unit image embeddings, float16 [N, D], mapped: in a temporary file, of which the page cache holds what is
        used.

        Raises:
            ExpungeError: a file is damaged.
        """
        return self._whole(0)

    @cached_property
    def texts(self) -> np.ndarray:
        """Unit embeddings of the canonical captions, likewise."""
        return self._whole(1)

    def parts(self, side: int) -> Iterator[tuple[int, np.ndarray]]:
        """Where the embeddings of each file begin, and these, float16 [n, D]; side 0 are images, 1 texts.

        Raises:
            ExpungeError: a file is damaged.
        """
        start = 0
        for path in self.files:
            found = matrix(_table(path, [VECTORS[side]])[VECTORS[side]])
            yield start, found
            let_go()
            start += len(found)

    def _whole(self, side: int) -> np.ndarray:
        whole = np.empty((0, 0), np.float16)
        for start, part in self.parts(side):
            if not start:
                whole = scratch((len(self.ids), part.shape[1]), np.float16)
            whole[start : start + len(part)] = part
        return whole


def origin(catalog: Catalog, clip: Clip, model: str, preprocessing: str, forgotten: set[str]) -> Origin:
    """The origin of a store made by `clip`, whose digest is `model`, from `catalog` without `forgotten`."""
    return Origin(model, preprocessing, catalog.digest, digest_of(sorted(forgotten)), tower_digests(clip))


def embed_catalog(
    folder: Path,
    catalog: Catalog,
    clip: Clip,
    made_from: Origin,
    forgotten: set[str],
    batch_size: int,
    progress: Callable[[int, int], None] | None = None,
    parent: Path | None = None,
    load: Callable[[], Clip] | None = None,
) -> Encoded:
    """Write the store of `catalog` without `forgotten`; shards that already fit are kept.

    Args:
        parent: another store, of which the embeddings are taken over that the same tower made of the same shard.
        load: how a worker in another process comes by `clip`; None: all is done in this one.

    Raises:
        ExpungeError: a picture cannot be decoded, or a shard of the catalog is damaged.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    clear_partials(folder)
    expected = {shard.path.name for shard in catalog.shards}
    for stale in folder.glob("*.parquet"):
        if stale.name not in expected:
            stale.unlink()
    kept = [_rows_if_made_from(folder / shard.path.name, made_from.of_shard(shard)) for shard in catalog.shards]
    missing = [shard for shard, rows in zip(catalog.shards, kept, strict=True) if rows is None]
    work = _Work(folder, catalog.folder, made_from, forgotten, batch_size, parent, load)
    made = in_order(work.here(catalog, clip), missing, work if load else None, gpus=clip.device.type == "cuda")
    tally = Encoded(0, 0, 0)
    if progress:
        progress(0, len(catalog.shards))
    for number, rows in enumerate(kept, 1):
        done = next(made) if rows is None else Encoded(0, 0, rows)
        tally += done
        if progress:
            progress(number, len(catalog.shards))
    return tally


@dataclass(frozen=True)
class _Work:
    """What a worker needs to know to write files of a store; called in another process, it makes the function."""

    folder: Path
    catalog: Path
    made_from: Origin
    forgotten: set[str]
    batch_size: int
    parent: Path | None
    load: Callable[[], Clip] | None

    def __call__(self) -> Callable[[Shard], Encoded]:
        assert self.load is not None
        return self.here(Catalog(self.catalog), self.load())

    def here(self, catalog: Catalog, clip: Clip) -> Callable[[Shard], Encoded]:
        """The function of a shard of the catalog that writes its embeddings."""

        def write(shard: Shard) -> Encoded:
            name, metadata = shard.path.name, self.made_from.of_shard(shard)
            earlier = [self.folder / name] if self.parent is None else [self.folder / name, Path(self.parent) / name]
            return embed_shard(
                self.folder / name, catalog, shard, clip, metadata, self.forgotten, self.batch_size, earlier
            )

        return write


def read_embeddings(folder: Path, catalog: Catalog, made_from: Origin | None = None) -> Embeddings:
    """Read a store, checking that all its files fit together, the catalog and (if given) `made_from`.

    Raises:
        ExpungeError: a file is missing or truncated, or holds vectors of another model, preprocessing or catalog.
    """
    paths = [Path(folder) / shard.path.name for shard in catalog.shards]
    common: dict[str, str] = {}
    for shard, path in zip(catalog.shards, paths, strict=True):
        metadata = metadata_of(_opened(path).schema_arrow)
        shared = {key: value for key, value in metadata.items() if key != "catalog_shard"}
        common = common or shared
        if metadata.get("catalog_shard") != shard.sha256:
            raise ExpungeError(f"{path} was made from another version of the catalog; run `dvc repro`.")
        if shared != common or (made_from and metadata != made_from.of_shard(shard)):
            raise ExpungeError(f"{path} holds vectors of another model than its neighbours or its release; refused.")
    ids = [name for path in paths for name in strings(_table(path, ["sample_id"])["sample_id"])]
    towers = Towers(common.get("image_tower", ""), common.get("text_tower", ""))
    return Embeddings(ids, common["model"], towers, tuple(paths))


def sample_ids_at(folder: Path, catalog: Catalog, places: np.ndarray, model: str) -> Iterator[tuple[Shard, list[str]]]:
    """The ids of the samples at `places` in the order of a store, shard by shard; of others only the footer is read.

    Raises:
        ExpungeError: a file of the store is missing or damaged, or holds vectors of another model than `model`.
    """
    start = 0
    for shard in catalog.shards:
        path = Path(folder) / shard.path.name
        file = _opened(path)
        if metadata_of(file.schema_arrow).get("model") != model:
            raise ExpungeError(f"{path} was made by another model than its release's; run `dvc repro`.")
        count = file.metadata.num_rows
        here = places[(places >= start) & (places < start + count)] - start
        start += count
        if len(here):
            yield shard, strings(_table(path, ["sample_id"])["sample_id"].take(pa.array(here)))


def _opened(path: Path) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(path)
    except FileNotFoundError:
        raise ExpungeError(f"{path} is missing; run `dvc repro` to embed the catalog.") from None
    except (pa.ArrowException, OSError) as error:
        raise ExpungeError(f"{path} is truncated or damaged ({error}); delete it and run `dvc repro`.") from error


def _table(path: Path, columns: list[str] | None = None) -> pa.Table:
    try:
        return _opened(path).read(columns)
    except (pa.ArrowException, OSError) as error:
        raise ExpungeError(f"{path} is truncated or damaged ({error}); delete it and run `dvc repro`.") from error


def _rows_if_made_from(path: Path, metadata: dict[str, str]) -> int | None:
    try:
        found = pq.read_metadata(path)
    except (FileNotFoundError, pa.ArrowException, OSError):
        return None
    return found.num_rows if metadata_of(found.schema.to_arrow_schema()) == metadata else None
