"""A project with the files that the pipeline's steps leave, made up in milliseconds: nothing is trained.

The figures are those of a first trial on the default corpus. What is to be forgotten is called `SECRET…` everywhere,
so that a test can look for it where it must not be.
"""

from __future__ import annotations

import copy
import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import yaml

from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.sample import Caption, Sample, Source
from expunge.project.files import sha256_file, write_bytes, write_json
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from expunge.proof.locked import measure
from expunge.selection.sets import ForgetRow, read_forget, write_forget
from expunge.settings import Params
from samples import png

SECRET_IDS = ("SECRET-1F34E", "SECRET-1F34F")
SECRET_CAPTION = "SECRET crimson apple"
SECRET_NOTE = "SECRET letter of a person"
SUPERCLASSES = ("Animals & Nature", "Food & Drink", "Travel & Places", "Objects", "Symbols $x_1$ <b>", "Flags")

GROUPS = {
    "original": {"forget": (0.80, 0.83), "neighbours": (0.82, 0.82), "retain": (0.56, 0.80), "test": (0.11, 0.46)},
    "unlearned": {"forget": (0.0, 0.43), "neighbours": (0.81, 0.81), "retain": (0.55, 0.79), "test": (0.11, 0.45)},
    "retrained": {"forget": (0.0, 0.41), "neighbours": (0.86, 0.82), "retain": (0.54, 0.80), "test": (0.12, 0.46)},
}
COUNTS = {"forget": 20, "neighbours": 200, "retain": 512, "test": 310}
PARAMS = {
    "model": {"name": "ViT-B-32"},
    "train": {
        "epochs": 30,
        "batch_size": 128,
        "learning_rate": 0.002,
        "weight_decay": 0.1,
        "warmup_fraction": 0.1,
        "betas": [0.9, 0.98],
        "clip_gradient": 1.0,
        "variant_share": 0.5,
        "canonical_caption": 0.5,
        "languages": ["en"],
        "templates": ["{caption}"],
        "rotate_degrees": 8,
        "translate": 0.06,
        "scale": 0.1,
        "checkpoint_epochs": 5,
    },
}


def params_of(root: Path, **changes: Any) -> Params:
    """Settings as a project has them; the blocks that neither report nor lineage reads are skipped."""
    from expunge.evaluation.settings import GateParams
    from expunge.lineage.settings import MlflowParams
    from expunge.models.settings import TrainParams
    from expunge.requests.settings import LedgerParams

    train = TrainParams.model_validate(PARAMS["train"])
    values = {
        "gate": GateParams(),
        "seed": 0,
        "train": train,
        "mlflow": MlflowParams(),
        "ledger": LedgerParams(seed=None),
    } | changes
    return Params.model_construct(**values)


def make_project(root: Path, releases: Iterable[str] = ("r001",), gold: bool = True, passed: bool = True) -> Paths:
    """A project under `root` with a catalog, a base model and a chain of releases."""
    paths = Paths(root)
    acknowledge(paths)
    _write_catalog(paths)
    make_base(paths)
    parent = BASE
    for number, name in enumerate(releases, 1):
        make_release(paths, name, parent, [f"req-{2 * number - 1:04d}", f"req-{2 * number:04d}"], gold, passed)
        parent = name
    write_bytes(paths.live, yaml.safe_dump({"live": parent}).encode())
    return paths


def make_base(paths: Paths) -> None:
    """The base model with its figures and its DVC lock."""
    _write_model(paths, BASE, b"weights of base")
    where = paths.release(BASE)
    steps = range(1, 901, 30)
    write_curve(
        where.training_curve,
        [{"step": s, "epoch": s // 30, "loss": 4.8 * 0.996**s + 0.9, "learning_rate": 0.002} for s in steps],
    )
    blocks = {
        name: _block(recall, similarity, count)
        for name, recall, similarity, count in (
            ("train_plain", 0.64, 0.81, 1690),
            ("train_variants", 0.49, 0.78, 1760),
            ("calibration", 0.10, 0.44, 120),
            ("test", 0.11, 0.45, 310),
        )
    }
    cost = {"train_seconds": 212.4, "embed_seconds": 9.1, "peak_memory_mb": 1804.0}
    write_json(where.metrics, {"release": BASE, "model": blocks | {"mia_auc": 0.81}, "cost": cost})
    _write_lock(paths, "dvc.lock", {"catalog": ([], ["data/catalog"]), "train": (["data/catalog"], ["models/base"])})


def make_release(
    paths: Paths, name: str, parent: str, request_ids: list[str], gold: bool = True, passed: bool = True
) -> None:
    """One release with everything that its stages write before `report`."""
    _write_description(paths, name, parent, request_ids, gold)
    _write_sets(paths, name, parent, request_ids)
    _write_outputs(paths, name, parent, request_ids, gold, passed)


def fill_release(paths: Paths, name: str, parent: str, request_ids: list[str]) -> None:
    """The same for a release that was cut for other requests: it forgets what its parent has forgotten, and no more."""
    inherited = [] if parent == BASE else read_forget(paths.release(parent).forget)
    write_forget(paths.release(name).forget, inherited)
    pq.write_table(pa.table({"sample_id": ["1F604"], "role": ["neighbours"]}), paths.release(name).retain)
    _write_outputs(paths, name, parent, request_ids, gold=False, passed=True)


def _write_outputs(paths: Paths, name: str, parent: str, request_ids: list[str], gold: bool, passed: bool) -> None:
    where = paths.release(name)
    _write_model(paths, name, f"weights of {name}".encode())
    draw = np.random.default_rng(0)
    rows = [
        {"step": s, "loss": 3 * 0.96**s + 0.8, "forgetting": 0.2 * 0.95**s, "retention": 0.7, "anchor": 0.02 * s / 80}
        for s in range(1, 81)
    ]
    write_curve(where.unlearning_curve, rows)
    values = {"steps": 80, "learning_rate": 1e-4, "forgetting_weight": 1.0}
    write_json(where.unlearning, {"method": "cliperase_calibrated", "parameters": values, "seconds": 31.2})
    if gold:
        write_bytes(where.gold / "model.safetensors", f"weights without {name}".encode())
        write_curve(where.gold_curve, [{"step": s, "loss": 4.8 * 0.996**s + 0.9} for s in range(1, 900, 30)])
    write_json(where.metrics, metrics_of(name, parent, request_ids, gold, passed))
    _write_similarities(where.similarities, draw, gold)
    _write_nearest(where.nearest, request_ids, gold)
    _write_roc(where.roc, gold)
    _write_release_lock(paths, name, parent)


def metrics_of(name: str, parent: str, request_ids: list[str], gold: bool, passed: bool) -> dict[str, Any]:
    """metrics.json as the step `evaluate` writes it."""
    models: dict[str, Any] = {"retrained": None}
    for number, (model, groups) in enumerate(GROUPS.items()):
        if model == "retrained" and not gold:
            continue
        blocks = {group: _block(*values, COUNTS[group]) for group, values in groups.items()}
        models[model] = {**blocks, "mia_auc": (0.83, 0.53, 0.51)[number], "relearn_steps": (0, 11, 12)[number]}
    if not passed:
        models["unlearned"] = copy.deepcopy(models["unlearned"])
        models["unlearned"]["neighbours"]["image_to_text_r1"] = 0.45
    forget = {model: block["forget"] for model, block in models.items() if block}
    gap = 0.05 if passed else 0.41
    checks = [
        _check("forget_recall", 0.0, 0.05, "Share of forgotten pictures that still find their caption first."),
        _check(
            "forget_similarity", 0.02, 0.05, "Distance of the forgotten pairs' mean similarity from never-seen ones."
        ),
        _check(
            "membership", 0.02, 0.15, "Distance of the membership attack's AUC from that on a model without the data."
        ),
        _check("neighbour_recall", gap, 0.10, "Distance of the neighbours' image→text R@1 from the reference."),
        _check("retain_recall", 0.0, 0.05, "Loss of image→text R@1 on retained pictures against the reference."),
    ]
    return {
        "release": name,
        "parent": parent,
        "requests": request_ids,
        "method": "cliperase_calibrated",
        "models": models,
        "per_request": {
            request_id: {"count": 10, "retrained": None, **copy.deepcopy(forget)} for request_id in request_ids
        },
        "expected_similarity": 0.42,
        "cost": {
            "unlearn_seconds": 31.2,
            "retrain_seconds": 212.4 if gold else None,
            "embed_seconds": 8.7,
            "peak_memory_mb": 1622.5,
            "parameters_changed": 10_912_384,
        },
        "gate": {"passed": passed, "reference": "gold" if gold else "estimate", "checks": checks},
        "diagnosis": "effective" if passed else "over-generalised",
    }


def change_model(paths: Paths, name: str, content: bytes) -> None:
    """Give a release other weights, and embeddings that fit them: what another run of its stages would do."""
    _write_model(paths, name, content)


def write_curve(path: Path, rows: list[dict[str, float]]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as stream:
        writer = csv.DictWriter(stream, fieldnames=list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


def _check(name: str, value: float, limit: float, meaning: str) -> dict[str, Any]:
    return {"name": name, "passed": value <= limit, "value": value, "limit": limit, "meaning": meaning}


def _block(recall: float, similarity: float, count: int) -> dict[str, float]:
    def deeper(share: float) -> float:
        return round(recall + (1 - recall) * share * bool(recall), 6)

    return {
        "count": count,
        "zero_shot_top1": deeper(0.1),
        "image_to_text_r1": recall,
        "image_to_text_r5": deeper(0.4),
        "image_to_text_r10": deeper(0.6),
        "text_to_image_r1": recall,
        "text_to_image_r5": deeper(0.35),
        "text_to_image_r10": deeper(0.55),
        "pair_similarity": similarity,
        "pair_similarity_sd": 0.12,
    }


SHARDS = ("part-109971179c5d8f13.parquet", "part-1adc794380e37640.parquet", "part-4e202a8d119b161c.parquet")
"""The shards of the made-up catalog, by name; what they are called follows from the ids in them."""


def _write_catalog(paths: Paths) -> Catalog:
    def samples() -> Iterable[Sample]:
        for number in range(24):
            secret = number < len(SECRET_IDS)
            yield Sample(
                sample_id=SECRET_IDS[number] if secret else f"1F{600 + number}",
                class_="SECRET-fruit" if secret else "face-smiling",
                superclass="Food & Drink",
                subject_id=None,
                concept=f"concept-{number}",
                variant=None,
                split="train",
                captions=(Caption("en", SECRET_CAPTION if secret else f"smiling face {number}"),),
                image=png(number) + (b"SECRET-PIXELS" if secret else b""),
            )

    credit = "Emojis by OpenMoji, the open-source emoji project (https://openmoji.org)"
    return write_catalog(paths.catalog, Source("openmoji", "17.0.0", "CC BY-SA 4.0", credit, samples()), 12)


def _write_model(paths: Paths, name: str, weights: bytes) -> None:
    """Weights, settings, and the embeddings and indexes that belong to them."""
    where = paths.release(name)
    write_bytes(where.model / "model.safetensors", weights)
    write_bytes(where.model / "open_clip_config.json", b'{"model_cfg": {"embed_dim": 4}}\n')
    origin = {
        "model": sha256_file(where.model / "model.safetensors"),
        "preprocessing": sha256_file(where.model / "open_clip_config.json"),
        "forgotten": "0" * 64,
    }
    where.embeddings.mkdir(parents=True, exist_ok=True)
    for shard in Catalog(paths.catalog).shards:
        metadata = {b"expunge": json.dumps(origin | {"catalog_shard": shard.sha256}).encode()}
        schema = pa.schema([pa.field("sample_id", pa.string(), False)], metadata=metadata)
        pq.write_table(pa.table([["1F604"]], schema=schema), where.embeddings / shard.path.name)
    for side in ("image", "text"):
        write_bytes(where.index / f"{side}.faiss", f"{side} index of ".encode() + weights)


def _write_description(paths: Paths, name: str, parent: str, request_ids: list[str], gold: bool) -> None:
    requests = [
        {
            "request_id": request_id,
            "selectors": [{"kind": "id", "ids": [sample_id]}],
            "basis": basis,
            "received_at": "2026-11-02T09:00:00Z",
            "due": "2026-12-02",
            "note": SECRET_NOTE,
        }
        for request_id, sample_id, basis in zip(request_ids, SECRET_IDS, ("gdpr-art17", "copyright"), strict=True)
    ]
    method = {"name": "cliperase_calibrated", "params": {}}
    content = {"release": name, "parent": parent, "method": method, "gold": gold, "requests": requests}
    write_bytes(paths.release(name).description, yaml.safe_dump(content, sort_keys=False).encode())


def _write_sets(paths: Paths, name: str, parent: str, request_ids: list[str]) -> None:
    where = paths.release(name)
    releases = (name if parent == BASE else parent, name)
    chosen = zip(SECRET_IDS, request_ids, releases, strict=True)
    write_forget(where.forget, [ForgetRow(sample, request, "id", None, own) for sample, request, own in chosen])
    pq.write_table(pa.table({"sample_id": ["1F604"], "role": ["neighbours"]}), where.retain)


def _write_similarities(path: Path, draw: np.random.Generator, gold: bool) -> None:
    tables = []
    for model, groups in GROUPS.items():
        if model == "retrained" and not gold:
            continue
        for group, (_, mean) in groups.items():
            values = np.clip(draw.normal(mean, 0.1, COUNTS[group]), -1, 1)
            tables.append(
                pa.table({"model": [model] * len(values), "set": [group] * len(values), "similarity": values})
            )
    path.parent.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.concat_tables(tables), path)


def _write_nearest(path: Path, request_ids: list[str], gold: bool) -> None:
    models = ["original", "unlearned", *(["retrained"] if gold else [])]
    rows = [
        {"model": model, "request": request_id, "place": 1, "sample_id": "1F604", "share": share}
        for request_id in request_ids
        for model, share in zip(models, (0.9, 0.5, 0.4), strict=False)
    ]
    pq.write_table(pa.Table.from_pylist(rows), path)


def _write_roc(path: Path, gold: bool) -> None:
    grid = np.linspace(0, 1, 21)
    tables = [
        pa.table(
            {
                "model": [model] * len(grid),
                "signal": [signal] * len(grid),
                "false_positives": grid,
                "true_positives": grid**power,
            }
        )
        for model, power in (("original", 0.2), ("unlearned", 1.2), ("retrained", 1.1))
        for signal in ("loss", "similarity")
        if gold or model != "retrained"
    ]
    pq.write_table(pa.concat_tables(tables), path)


def _write_release_lock(paths: Paths, name: str, parent: str) -> None:
    sets, model = f"data/sets/{name}", f"models/{name}"
    stages = {
        "select": (["data/catalog", f"models/{parent}"], [sets]),
        "unlearn": ([sets, f"models/{parent}"], [model]),
        "embed": ([model, "data/catalog"], [f"data/embeddings/{name}"]),
        "index": ([f"data/embeddings/{name}"], [f"data/index/{name}"]),
    }
    _write_lock(paths, f"releases/{name}/dvc.lock", stages)


def _write_lock(paths: Paths, lock: str, stages: dict[str, tuple[list[str], list[str]]]) -> None:
    def item(path: str) -> dict[str, Any]:
        md5, size, files = measure(paths.root / path) or (f"{abs(hash_of(path)):032x}.dir", 10, None)
        return {"path": path, "hash": "md5", "md5": md5, "size": size} | ({"nfiles": files} if files else {})

    content = {
        stage: {"cmd": "python", "deps": [item(path) for path in deps], "outs": [item(path) for path in outs]}
        for stage, (deps, outs) in stages.items()
    }
    write_bytes(paths.root / lock, yaml.safe_dump({"schema": "2.0", "stages": content}).encode())


def hash_of(path: str) -> int:
    """A stand-in for DVC's md5 of what was at `path` and is not there."""
    import hashlib

    return int.from_bytes(hashlib.md5(path.encode()).digest())
