"""Step `evaluate`: original, unlearned and retrained model on forget, neighbours, retain and test → metrics.json.

For `base` it measures the one model there is on its own training and held-out pairs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from sklearn.decomposition import PCA

from expunge.corpus.catalog import Catalog
from expunge.evaluation.gate import judge
from expunge.evaluation.measure import Measured, Sets, group_metrics, measure, relearn
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs
from expunge.project.errors import ExpungeError
from expunge.project.files import atomic_path, read_json, write_json
from expunge.project.paths import BASE, Paths
from expunge.project.progress import progress
from expunge.releases.chain import load_release
from expunge.releases.release import Release
from expunge.selection.sets import ForgetRow, read_forget, read_retain
from expunge.settings import Params
from expunge.steps import step_main
from expunge.unlearning.calibration import never_seen_level
from expunge.unlearning.problem import Seen


def evaluate(paths: Paths, params: Params, release: str) -> None:
    """Write the metrics of `release`, and the data behind its figures."""
    clip.configure(params.compute)
    if release == BASE:
        _evaluate_base(paths, params)
    else:
        _evaluate_release(paths, params, load_release(paths, release))


def _evaluate_base(paths: Paths, params: Params) -> None:
    where = paths.release(BASE)
    catalog = Catalog(paths.catalog)
    model = clip.load(where.model, clip.configure(params.compute))
    split = _column(catalog, "split")
    varied = np.array([name is not None for name in catalog.metadata["variant"].to_pylist()])
    unseen = _unseen_concepts(catalog)
    groups = {
        "train_plain": np.flatnonzero((split == "train") & ~varied),
        "train_variants": np.flatnonzero((split == "train") & varied),
        "calibration": np.flatnonzero(split == "calibration"),
        "test_concepts": np.flatnonzero((split == "test") & unseen),
        "test_variants": np.flatnonzero((split == "test") & ~unseen),
        "test": np.flatnonzero(split == "test"),
    }
    sets = Sets(groups, np.flatnonzero(split == "train"), np.flatnonzero((split == "test") & unseen))
    measured = measure(model, load_pairs(catalog, model), sets, params.evaluate, params.embed.batch_size)
    cost = {
        "train_seconds": read_json(where.training)["seconds"],
        "peak_memory_mb": read_json(where.training)["peak_memory_mb"],
        "embed_seconds": read_json(where.embedding_cost)["seconds"],
    }
    write_json(where.metrics, {"release": BASE, "model": _rounded(measured.metrics), "cost": cost})
    write_json(where.summary, _summary(_rounded(measured.metrics)) | {"train_seconds": cost["train_seconds"]})
    recall = measured.metrics["train_plain"]["image_to_text_r1"]
    print(f"evaluate: image→text R@1 of trained pictures {recall:.2f}")


def _evaluate_release(paths: Paths, params: Params, description: Release) -> None:
    where = paths.release(description.release)
    catalog = Catalog(paths.catalog)
    all_rows = read_forget(where.forget, {"catalog": catalog.digest})
    forgotten = {row.sample_id for row in all_rows}
    rows = [row for row in all_rows if row.release == description.release]
    sets = _sets(paths, description, catalog, rows, forgotten)
    folders = {"original": paths.release(description.parent).model, "unlearned": where.model}
    if description.gold:
        folders["retrained"] = where.gold
    device = clip.configure(params.compute)
    models = {name: clip.load(folder, device) for name, folder in folders.items()}
    pairs = load_pairs(catalog, models["original"])
    measured: dict[str, Measured] = {}
    with progress(f"evaluate {description.release}") as report:
        for number, (name, model) in enumerate(models.items(), 1):
            measured[name] = measure(model, pairs, sets, params.evaluate, params.embed.batch_size)
            report(number, len(models))
    blocks: dict[str, Any] = {name: found.metrics for name, found in measured.items()}
    _add_relearning(blocks, models, measured, pairs, sets, params)
    expected = _expected_similarity(catalog, measured["original"], sets, forgotten)
    verdict = judge(params.gate, blocks["original"], blocks["unlearned"], blocks.get("retrained"), expected)
    metrics = {
        "release": description.release,
        "parent": description.parent,
        "requests": [request.request_id for request in description.requests],
        "method": description.method.name,
        "models": {name: blocks.get(name) for name in ("original", "unlearned", "retrained")},
        "per_request": _per_request(catalog, rows, measured),
        "expected_similarity": expected,
        "cost": _costs(paths, description),
        **verdict,
    }
    write_json(where.metrics, _rounded(metrics))
    write_json(where.summary, _release_summary(_rounded(metrics)))
    _write_similarities(paths, description.release, measured, sets)
    _write_map(paths, description.release, catalog, measured, sets)
    failed = [check["name"] for check in verdict["gate"]["checks"] if not check["passed"]]
    outcome = "passed" if not failed else f"FAILED {', '.join(failed)}"
    print(f"evaluate: {verdict['diagnosis']}, gate {outcome}")


def _sets(paths: Paths, description: Release, catalog: Catalog, rows: list[ForgetRow], forgotten: set[str]) -> Sets:
    where = paths.release(description.release)
    own = {row.sample_id for row in rows}
    retained = read_retain(where.retain, {"catalog": catalog.digest})
    if not own:
        raise ExpungeError(f"Release {description.release} forgets nothing; there is nothing to evaluate.")
    split = _column(catalog, "split")
    kept = np.array([sample_id not in forgotten for sample_id in catalog.ids])
    forget = _rows(catalog, own)
    groups = {
        "forget": forget,
        "neighbours": _rows(catalog, {row.sample_id for row in retained if row.role == "neighbours"}),
        "retain": _rows(catalog, {row.sample_id for row in retained if row.role == "random"}),
        "test": np.flatnonzero((split == "test") & kept),
    }
    return Sets(
        groups,
        members=forget[split[forget] == "train"],
        never_seen=np.flatnonzero((split == "test") & kept & _unseen_concepts(catalog)),
    )


def _add_relearning(
    blocks: dict[str, Any],
    models: dict[str, Clip],
    measured: dict[str, Measured],
    pairs: Pairs,
    sets: Sets,
    params: Params,
) -> None:
    seen = measured["original"]
    original = group_metrics(seen.gallery, seen.matches, seen.named, sets.members)["image_to_text_r1"]
    with progress("relearning attack") as report:
        for number, (name, block) in enumerate(blocks.items(), 1):
            block["relearn_steps"] = relearn(
                models[name], measured[name], pairs, sets, original / 2, params.evaluate, params.compute, params.seed
            )
            report(number, len(blocks))


def _expected_similarity(catalog: Catalog, original: Measured, sets: Sets, forgotten: set[str]) -> float:
    """The never-seen level of the forget set, for a gate without gold standard and for comparison with one."""
    gallery, captions = original.gallery, catalog.metadata["caption"]

    def seen(rows: np.ndarray) -> Seen:
        return Seen(captions.take(rows).to_pylist(), gallery.images[rows], gallery.texts[rows])

    held_out = _rows(catalog, catalog.split_ids("calibration") - forgotten)
    remaining = _rows(catalog, catalog.split_ids("train") - forgotten)
    return float(never_seen_level(seen(sets.groups["forget"]), seen(held_out), seen(remaining)).mean())


def _per_request(catalog: Catalog, rows: list[ForgetRow], measured: dict[str, Measured]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for request_id in sorted({row.request_id for row in rows}):
        chosen = _rows(catalog, {row.sample_id for row in rows if row.request_id == request_id})
        found[request_id] = {"count": len(chosen)} | {
            name: group_metrics(seen.gallery, seen.matches, seen.named, chosen) for name, seen in measured.items()
        }
        found[request_id].setdefault("retrained", None)
    return found


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


def _write_similarities(paths: Paths, release: str, measured: dict[str, Measured], sets: Sets) -> None:
    tables = [
        pa.table({"model": [name] * len(rows), "set": [group] * len(rows), "similarity": similarities[rows].numpy()})
        for name, seen in measured.items()
        for similarities in [seen.gallery.similarities]
        for group, rows in sets.groups.items()
    ]
    with atomic_path(paths.release(release).similarities) as partial:
        pq.write_table(pa.concat_tables(tables), partial)


def _write_map(paths: Paths, release: str, catalog: Catalog, measured: dict[str, Measured], sets: Sets) -> None:
    """Image embeddings of retained samples before and after, on the two main axes of the original ones."""
    rows = np.concatenate([sets.groups["neighbours"], sets.groups["retain"]])
    groups = ["neighbours"] * len(sets.groups["neighbours"]) + ["retain"] * len(sets.groups["retain"])
    axes = PCA(n_components=2, svd_solver="full").fit(measured["original"].gallery.images[rows].numpy())
    superclasses = _column(catalog, "superclass")[rows]
    tables = []
    for name in ("original", "unlearned"):
        points = axes.transform(measured[name].gallery.images[rows].numpy()).astype(np.float32)
        tables.append(
            pa.table(
                {
                    "model": [name] * len(rows),
                    "x": points[:, 0],
                    "y": points[:, 1],
                    "superclass": superclasses.tolist(),
                    "set": groups,
                }
            )
        )
    with atomic_path(paths.release(release).embedding_map) as partial:
        pq.write_table(pa.concat_tables(tables), partial)


def _column(catalog: Catalog, name: str) -> np.ndarray:
    return np.array(catalog.metadata[name].to_pylist(), dtype=object)


def _rows(catalog: Catalog, ids: set[str]) -> np.ndarray:
    return np.array(sorted(catalog.row_of[sample_id] for sample_id in ids), dtype=np.int64)


def _unseen_concepts(catalog: Catalog) -> np.ndarray:
    """Whether no sample of a row's concept is trained on, bool [N]."""
    concept, split = _column(catalog, "concept"), _column(catalog, "split")
    trained = set(concept[split == "train"])
    return np.array([name not in trained for name in concept])


def _rounded(value: Any) -> Any:
    """Numbers in nine significant digits: enough for any use, and readable."""
    if isinstance(value, dict):
        return {key: _rounded(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_rounded(item) for item in value]
    return float(f"{value:.9g}") if isinstance(value, float) else value


if __name__ == "__main__":
    step_main(evaluate)
