"""Embedding a catalog against the bare forward pass → bench/results/encoder.json.

`python -m bench.encoder` makes up a catalog of JPEG pictures with captions and has it embedded as the stage `embed`
does: read, decoded ahead by threads, tokenised, encoded, written. The same model then runs on the same pixels and
tokens, which lie in memory, and nothing else is done. The two take turns, by the network of params.yaml and by
ViT-B/32 with random weights; measured are wall-clock seconds, which other work on the machine lengthens, and those of
the processor, which the decoding threads add to. A ratio of 1 is the speed of the bare pass.
"""

from __future__ import annotations

import io
import os
import statistics
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image

from bench.machine import machine
from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.sample import Caption, Sample, Source
from expunge.embeddings.shard import Encoded
from expunge.embeddings.store import embed_catalog, origin
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.cropping import longest_first
from expunge.models.pairs import load_pairs
from expunge.models.settings import ComputeParams, ModelParams
from expunge.project.columns import strings
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.settings import load_params

RESULTS = Path("bench/results/encoder.json")
ROUNDS = 4
BATCH = 256
SEED = 0


def main() -> None:
    """Measure both networks and write the results."""
    clip.configure(ComputeParams(device="cpu"))
    found: dict[str, Any] = {"command": "python -m bench.encoder", "machine": machine(), "seed": SEED}
    found["threads"] = os.environ.get("OMP_NUM_THREADS", "all")
    small, large = load_params(Paths().params).model, ModelParams(name="ViT-B-32")
    found["networks"] = {"params.yaml": _measured(small, 4096, 64), "ViT-B-32": _measured(large, 64, 256)}
    write_json(RESULTS, found)
    print(f"Wrote {RESULTS}.")


def _measured(params: ModelParams, count: int, size: int) -> dict[str, Any]:
    """Medians of `ROUNDS` turns on `count` pictures of `size` pixels a side."""
    model = clip.create(params, SEED)
    with tempfile.TemporaryDirectory(prefix="expunge-encoder-") as folder:
        catalog = _catalog(Path(folder) / "catalog", count, size)
        bare = _bare(model, catalog)
        made_from = origin(catalog, model, "0" * 64, "0" * 64, set())
        turns: dict[str, list[tuple[float, float]]] = {"embedding": [], "bare": []}
        done = Encoded(0, 0, 0)
        for number in range(ROUNDS):
            store = Path(folder) / f"store-{number}"
            turns["embedding"].append(_timed(partial(embed_catalog, store, catalog, model, made_from, set(), BATCH)))
            turns["bare"].append(_timed(bare))
        done = embed_catalog(Path(folder) / "phases", catalog, model, made_from, set(), BATCH)
    wall, processor = (
        {name: statistics.median(one[way] for one in seen) for name, seen in turns.items()} for way in (0, 1)
    )
    return {
        "pictures": count,
        "side": size,
        "seconds": {name: round(value, 2) for name, value in wall.items()},
        "cpu_seconds": {name: round(value, 2) for name, value in processor.items()},
        "ratio": round(wall["bare"] / wall["embedding"], 3),
        "cpu_ratio": round(processor["bare"] / processor["embedding"], 3),
        "phases": {name: round(seconds, 2) for name, seconds in done.seconds.items()},
    }


def _bare(model: Clip, catalog: Catalog) -> Callable[[], None]:
    """The forward passes alone, in the batches that embedding makes."""
    pixels = load_pairs(catalog, model).images(range(len(catalog)))
    tokens = [model.tokenizer(strings(table["caption"])) for table in catalog.tables(["caption"])]

    def run() -> None:
        model.encode_images(pixels, BATCH)
        with torch.inference_mode():
            for shard in tokens:
                for rows in longest_first(shard).split(BATCH):
                    model.encode_tokens(shard[rows])

    return run


def _catalog(folder: Path, count: int, size: int) -> Catalog:
    draw = np.random.default_rng(SEED)
    samples = []
    for number in range(count):
        stream = io.BytesIO()
        coarse = Image.fromarray(draw.integers(0, 256, (8, 8, 3), np.uint8))
        coarse.resize((size, size), Image.Resampling.BICUBIC).save(stream, "JPEG", quality=90)
        caption = Caption("en", f"a picture of number {number} in many colours")
        samples.append(
            Sample(f"s{number:06d}", "c", "c", None, f"c{number}", None, "train", (caption,), stream.getvalue())
        )
    return write_catalog(folder, Source("made up", "1", "none", "none", samples), 512)


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall-clock seconds and those of the processor."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


if __name__ == "__main__":
    main()
