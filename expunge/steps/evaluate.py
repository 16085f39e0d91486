"""Step `evaluate`: original, unlearned and retrained model on forget, neighbours, retain and test → metrics.json.

For `base` it measures the one model there is on its own training and held-out pairs.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.corpus.catalog import Catalog
from expunge.embeddings.search import load_embeddings
from expunge.embeddings.views import Views
from expunge.evaluation import tables
from expunge.evaluation.inputs import read_inputs
from expunge.evaluation.measure import measure
from expunge.evaluation.metrics import BaseMetrics, ReleaseMetrics
from expunge.evaluation.release import evaluate_release
from expunge.evaluation.sets import base_sets
from expunge.models import clip
from expunge.models.precision import settled
from expunge.project.columns import strings
from expunge.project.documents import write_document
from expunge.project.files import atomic_path, read_json, rounded, write_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import load_release, served_method
from expunge.releases.release import Release
from expunge.settings import Params
from expunge.steps import step_main


def evaluate(paths: Paths, params: Params, release: str) -> None:
    """Write the metrics of `release`, and the data behind its figures."""
    params = settled(paths, params)
    clip.configure(params.compute)
    if release == BASE:
        _evaluate_base(paths, params)
    else:
        _evaluate_release(paths, params, load_release(paths, release))


def _evaluate_base(paths: Paths, params: Params) -> None:
    where = paths.release(BASE)
    catalog = Catalog(paths.catalog)
    model = clip.load(where.model, clip.configure(params.compute))
    views = Views(catalog, [load_embeddings(paths, BASE)], params.embed.batch_size)
    classes = strings(catalog.metadata["class"])
    measured = measure(model, views(model), classes, base_sets(catalog), params.evaluate)
    training = read_json(where.training)
    cost = {
        "train_seconds": training["seconds"],
        "peak_memory_mb": training["peak_memory_mb"],
        "embed_seconds": read_json(where.embedding_cost)["seconds"],
    }
    metrics = rounded(measured.metrics)
    write_document(where.metrics, BaseMetrics.model_validate({"release": BASE, "model": metrics, "cost": cost}))
    write_json(where.summary, _summary(metrics) | {"train_seconds": cost["train_seconds"]})
    print(f"evaluate: image→text R@1 of trained pictures {metrics['train_plain']['image_to_text_r1']:.2f}")


def _evaluate_release(paths: Paths, params: Params, description: Release) -> None:
    where = paths.release(description.release)
    asked = read_inputs(paths, params, description, [description.parent, description.release])
    found = evaluate_release(asked, params)
    shutil.rmtree(paths.stand_ins(description.release), ignore_errors=True)
    head = {
        "release": description.release,
        "parent": description.parent,
        "requests": [request.request_id for request in description.requests],
        "method": served_method(paths, description).name,
    }
    if description.fallbacks:
        head["attempts"] = read_json(where.attempts)
    metrics = rounded(head | found.metrics | {"cost": _costs(paths, description)})
    write_document(where.metrics, ReleaseMetrics.model_validate(metrics))
    write_json(where.summary, _release_summary(metrics))
    _write_table(where.similarities, tables.similarities(found.measured, found.sets))
    nearest = tables.nearest_retained(asked.views.catalog, found.measured, found.requests, found.forgotten)
    _write_table(where.nearest, nearest)
    _write_table(where.roc, tables.roc(found.measured, found.sets))
    failed = [check["name"] for check in metrics["gate"]["checks"] if not check["passed"]]
    outcome = "passed" if not failed else f"FAILED {', '.join(failed)}"
    print(f"evaluate: {metrics['diagnosis']}, gate {outcome}")


def _costs(paths: Paths, description: Release) -> dict[str, Any]:
    where = paths.release(description.release)
    unlearning = read_json(where.unlearning)
    return {
        "unlearn_seconds": unlearning["seconds"],
        "retrain_seconds": read_json(where.gold_training)["seconds"] if description.gold else None,
        "embed_seconds": read_json(where.embedding_cost)["seconds"],
        "peak_memory_mb": unlearning["peak_memory_mb"],
        "parameters_changed": unlearning["parameters_changed"],
    }


def _summary(block: dict[str, Any]) -> dict[str, Any]:
    """The two figures of each set that say most, of one block `M`."""
    chosen = ("image_to_text_r1", "pair_similarity")
    return {
        key: {name: value[name] for name in chosen} if isinstance(value, dict) else value
        for key, value in block.items()
    }


def _release_summary(metrics: dict[str, Any]) -> dict[str, Any]:
    return {
        "diagnosis": metrics["diagnosis"],
        "passed": metrics["gate"]["passed"],
        "unlearn_seconds": metrics["cost"]["unlearn_seconds"],
        **_summary(metrics["models"]["unlearned"]),
    }


def _write_table(path: Path, table: pa.Table) -> None:
    with atomic_path(path) as partial:
        pq.write_table(table, partial)


if __name__ == "__main__":
    step_main(evaluate)
