"""A project of any number of made-up samples, written in columns: catalog, base model and that model's store."""

from __future__ import annotations

import io
import json

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from expunge.corpus.catalog import FORMAT, MANIFEST, Catalog
from expunge.corpus.hashes import PACKED
from expunge.corpus.sample import SCHEMA
from expunge.embeddings.shard import META, VECTORS
from expunge.embeddings.store import origin
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.files import preprocess_digest
from expunge.project.files import sha256_file, write_json
from expunge.project.paths import BASE, Paths

ROWS = 4096
CLASSES = 100
PICTURES = 64
ADJECTIVES = "red green blue old new big small dark bright quiet loud round flat warm cold soft hard wet dry long"
NOUNS = "dog cat bird house tree street river boat table chair lamp book phone bridge garden horse cloud stone train"
VERBS = "near beside behind under above facing touching crossing leaving passing meeting circling carrying holding"
PLACES = "outside inside tonight today upstairs downstairs nearby abroad underground overhead ashore aboard"


def write_synthetic(paths: Paths, model: Clip, count: int, seed: int) -> None:
    """Write `count` samples, `model` as the base model, and a store of unit vectors around one centre a class."""
    draw = np.random.default_rng(seed)
    pictures = [_picture(draw) for _ in range(PICTURES)]
    shards = []
    for number, start in enumerate(range(0, count, ROWS)):
        path = paths.catalog / f"part-{number:05d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        rows = range(start, min(start + ROWS, count))
        pq.write_table(_samples(rows, pictures, draw), path, compression="zstd", row_group_size=ROWS)
        shards.append({"file": path.name, "rows": len(rows), "size": path.stat().st_size, "sha256": sha256_file(path)})
    about = {"source": "synthetic", "source_version": "1", "license": "none", "credit": "none"}
    write_json(paths.catalog / MANIFEST, {"format": FORMAT, **about, "samples": count, "shards": shards})
    where = paths.release(BASE)
    digest = clip.save(model, where.model)
    _write_store(paths, Catalog(paths.catalog), model, digest, draw)


def _picture(draw: np.random.Generator) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8)).resize((32, 32)).save(stream, "PNG")
    return stream.getvalue()


def _samples(rows: range, pictures: list[bytes], draw: np.random.Generator) -> pa.Table:
    count = len(rows)
    lists = [words.split() for words in (ADJECTIVES, ADJECTIVES, NOUNS, VERBS, ADJECTIVES, NOUNS, PLACES)]
    picks = [[words[pick] for pick in draw.integers(0, len(words), count)] for words in lists]
    captions = [" ".join(said) for said in zip(*picks, strict=True)]
    # Of ten samples one is held out, for calibration and for the test in turn; those to be forgotten end in 0.
    splits = [("train" if row % 10 != 5 else ("test", "calibration")[row // 10 % 2]) for row in rows]
    columns = {
        "sample_id": [f"s{row:08d}" for row in rows],
        "class": [f"class {row % CLASSES}" for row in rows],
        "superclass": ["made up"] * count,
        "subject_id": [None] * count,
        "concept": [f"c{row}" for row in rows],
        "variant": [None] * count,
        "split": splits,
        "caption": captions,
        "captions": [[{"language": "en", "text": caption}] for caption in captions],
        "content_sha256": ["0" * 64] * count,
        "hashes": [draw.bytes(PACKED) for _ in rows],
        "image": [pictures[row % PICTURES] for row in rows],
    }
    return pa.table({name: columns[name] for name in SCHEMA.names}, schema=SCHEMA)


def _write_store(paths: Paths, catalog: Catalog, model: Clip, digest: str, draw: np.random.Generator) -> None:
    where = paths.release(BASE)
    made_from = origin(catalog, model, digest, preprocess_digest(where.model), set())
    centres = draw.normal(size=(CLASSES, model.embed_dim)).astype(np.float32)
    where.embeddings.mkdir(parents=True, exist_ok=True)
    start = 0
    for shard in catalog.shards:
        images = _unit(centres[np.arange(start, start + shard.rows) % CLASSES] + _noise(shard.rows, model, draw))
        texts = _unit(images + _noise(shard.rows, model, draw) / 40)
        names = [f"s{row:08d}" for row in range(start, start + shard.rows)]
        table = pa.table({"sample_id": names} | dict(zip(VECTORS, map(_column, (images, texts)), strict=True)))
        metadata = {META: json.dumps(made_from.of_shard(shard), sort_keys=True)}
        pq.write_table(
            table.replace_schema_metadata(metadata),
            where.embeddings / shard.path.name,
            compression="none",
            use_dictionary=False,
        )
        start += shard.rows


def _noise(count: int, model: Clip, draw: np.random.Generator) -> np.ndarray:
    return draw.standard_normal((count, model.embed_dim), np.float32)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


def _column(vectors: np.ndarray) -> pa.FixedSizeListArray:
    values = pa.array(vectors.astype(np.float16).reshape(-1), pa.float16())
    return pa.FixedSizeListArray.from_arrays(values, vectors.shape[1])
