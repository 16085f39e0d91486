"""Exact unlearning, measured: sharded adapters and a linear probe → lines of kind `exact` in the scenario's results.

`python -m bench.forgetting.exact --scenarios random` measures what is missing. Both forget exactly by construction,
which tests prove; the questions here are what the model is worth before, and what a deletion costs. The sharded model's
backbone is trained on the half of the training samples that a hash of the id makes public; samples of the scenario's
forget set are never public.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path
from typing import Any

import numpy as np

from bench.forgetting.models import workplace
from bench.forgetting.results import EXACT, RESULTS
from bench.forgetting.run import Bench
from bench.forgetting.scenarios import SCENARIOS
from expunge.evaluation.sets import rows_of
from expunge.exact import sharded
from expunge.exact.probe import Probe
from expunge.models.settings import ShardedParams
from expunge.models.slices import public_share

PUBLIC = 0.5
RIDGE = 1.0
SHARDED, PROBE = "sharded", "probe"


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


MEASURED = {PROBE: measure_probe, SHARDED: measure_sharded}


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
