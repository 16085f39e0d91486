"""Exact unlearning, measured: sharded adapters and a linear probe → lines of kind `exact` in the scenario's results.

`python -m bench.forgetting.exact --scenarios random` measures what is missing. All forget exactly by construction,
which tests prove; the questions here are what the model is worth before, and what a deletion costs. *sharded* is an
ensemble that forgets the scenario's set; its backbone is trained on the half of the training samples that a hash of the
id makes public, of which none are in that set. *slices* is what `train.sharded` serves: one model, of which one sample
is deleted.
"""

from __future__ import annotations

import argparse
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from bench.forgetting.models import workplace
from bench.forgetting.results import EXACT, RESULTS
from bench.forgetting.run import Bench
from bench.forgetting.scenarios import SCENARIOS
from expunge.evaluation.sets import rows_of
from expunge.exact import sharded
from expunge.exact.probe import Probe
from expunge.models.clip import Clip
from expunge.models.retrain import train_from_scratch
from expunge.models.settings import ShardedParams
from expunge.models.slices import place, public_share

PUBLIC = 0.5
RIDGE = 1.0
SHARDED, PROBE, SLICES = "sharded", "probe", "slices"


def measure_sharded(bench: Bench) -> dict[str, Any]:
    """Train an ensemble on everything, delete the forget set, and measure the ensemble before and after."""
    params, sharding = bench.place.params, ShardedParams()
    trained = bench.catalog.split_ids("train")
    public = public_share(trained - bench.forgotten, PUBLIC)
    start = time.perf_counter()
    ensemble = sharded.train(bench.catalog, params, sharding, public, bench.place.work / "checkpoints")
    seconds = time.perf_counter() - start
    before = bench.measure(ensemble).metrics
    deletion = ensemble.delete(bench.forgotten)
    return {
        "values": sharding.model_dump() | {"public_share": PUBLIC},
        "original": before,
        "metrics": bench.measure(ensemble).metrics,
        "cost": {
            "train_seconds": round(seconds, 1),
            "unlearn_seconds": round(deletion.seconds, 1),
            "retrained_slices": len(deletion.retrained),
            "slices": sharding.shards * sharding.slices,
        },
    }


def measure_probe(bench: Bench) -> dict[str, Any]:
    """A linear probe on the parent's image embeddings: forget in closed form, against fitting it again without."""
    classes, images = bench.pairs.classes, bench.original.gallery.images.numpy()
    trained = rows_of(bench.catalog, bench.catalog.split_ids("train"))
    forget, test = bench.sets.members, bench.sets.groups["test"]
    kept = np.setdiff1d(trained, forget)

    def names(rows: np.ndarray) -> list[str]:
        return [classes[row] for row in rows]

    probe = Probe.fit(images[trained], names(trained), RIDGE)
    start = time.perf_counter()
    left = probe.forget(images[forget], names(forget))
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    again = Probe.fit(images[kept], names(kept), RIDGE)
    refit = time.perf_counter() - start
    # A class that was forgotten as a whole keeps a column of zeros in the one and has none in the other.
    shared = [left.classes.index(name) for name in again.classes]

    def accuracy(fitted: Probe, rows: np.ndarray) -> float:
        return float(np.mean(np.array(fitted.predict(images[rows])) == np.array(names(rows))))

    return {
        "values": {"ridge": RIDGE},
        "greatest_difference": float(np.abs(left.weights[:, shared] - again.weights).max()),
        "accuracy": {
            "forget": [accuracy(probe, forget), accuracy(left, forget)],
            "test": [accuracy(probe, test), accuracy(left, test)],
        },
        "cost": {"unlearn_seconds": seconds, "retrain_seconds": refit},
    }


def measure_slices(bench: Bench) -> dict[str, Any]:
    """What `train.sharded` costs: training, deleting one sample of the last or the first slice of a shard, and training
    anew without it, which must give the same bits."""
    sharding = ShardedParams()
    train = bench.place.params.train.model_copy(update={"sharded": sharding})
    params = bench.place.params.model_copy(update={"train": train})
    ids, checkpoints = bench.catalog.split_ids("train"), bench.place.work / "checkpoints"

    def trained(without: set[str], known: Mapping[str, Tensor] | None) -> tuple[Clip, dict[str, float]]:
        start, spent = time.perf_counter(), time.process_time()
        model, curve, _ = train_from_scratch(bench.catalog, params, without, checkpoints, known=known)
        seconds, cpu = time.perf_counter() - start, time.process_time() - spent
        slices = len(curve) if known else sharding.shards * sharding.slices
        return model, {"seconds": round(seconds, 1), "cpu_seconds": round(cpu, 1), "slices": slices}

    whole, training = trained(set(), None)
    deletions = {}
    for name, slice_ in (("last", sharding.slices - 1), ("first", 0)):
        private = ids - public_share(ids, sharding.public_share)
        gone = {min(one for one in private if place(one, sharding) == (0, slice_))}
        quick, cost = trained(gone, whole.parts)
        anew, again = trained(gone, None)
        deletions[name] = {"deletion": cost, "training_anew": again, "same_bits": _same(quick, anew)}
    return {
        "values": sharding.model_dump(),
        "metrics": bench.measure(whole).metrics,
        "cost": {"training": training},
        "deletions": deletions,
    }


def _same(one: Clip, other: Clip) -> bool:
    weights = other.model.state_dict()
    return all(torch.equal(value, weights[name]) for name, value in one.model.state_dict().items())


MEASURED = {PROBE: measure_probe, SHARDED: measure_sharded, SLICES: measure_slices}


def main() -> None:
    """Measure what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=["random"])
    parser.add_argument("--models", nargs="+", choices=MEASURED, default=list(MEASURED))
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    options = parser.parse_args()
    for seed in options.seeds:
        place = workplace(seed)
        for scenario in options.scenarios:
            bench = Bench(place, SCENARIOS[scenario], options.results)
            for name in options.models:
                if not bench.has(EXACT, name):
                    bench.record(EXACT, name, MEASURED[name](bench))
                    print(f"{scenario} {name} {seed}: measured", flush=True)


if __name__ == "__main__":
    main()
