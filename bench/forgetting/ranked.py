"""How the best of each search does on sets that nothing was searched on: the methods ranked by one bar.

`python -m bench.forgetting.ranked` takes, of every method that `bench.forgetting.tune` has searched on the medium
corpus, the weights and hyper-parameters with the lowest gap on the validation scenarios, forgets reported ones with
them, and records one line a run in bench/results/ranked/. Retrainings with another seed are measured as well: no method
can be expected to come closer than they do. The corpus is small and so is its model, and the figures hold for these.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.forgetting import results, tune
from bench.forgetting.distance import distance
from bench.forgetting.results import RUN, Result
from bench.forgetting.run import Bench
from bench.forgetting.scenarios import SCENARIOS
from bench.forgetting.small import medium_workplace
from bench.forgetting.tables import grouped
from expunge.project.errors import ExpungeError

FOLDER = Path("bench/results/ranked")
SETS = ("small_class", "large_class", "random", "concept")
SEEDS = (0, 1)
AGAIN = "retrained"
OTHER = 100
"""Added to a seed for the retraining that methods are compared with."""
ALL = (
    "average_gap",
    "forget_recall",
    "forget_similarity",
    "neighbours_recall",
    "retain_recall",
    "test_recall",
    "mia_auc",
)


def searched(folder: Path = tune.FOLDER) -> list[Result]:
    """Of each method the search that ended lowest, as its record."""
    found = results.of_kind(tune.TUNING, [tune.MEDIUM], folder)
    by_method = grouped(found, lambda one: one.method.partition(",")[0])
    return [min(chosen, key=lambda one: one.content["best"]) for chosen in by_method.values()]


def tuned(bench: Bench, method: str, values: dict[str, Any]) -> Bench:
    """The same problem with other hyper-parameters of one method."""
    return replace(bench, place=tune.with_values(bench.place, method, values))


def missing(bench: Bench, method: str, values: dict[str, Any] | None, folder: Path) -> None:
    """Forget by `method` with `values`, or retrain with another seed where there are none; record the distance."""
    scenario, seed = bench.scenario.name, bench.place.params.seed
    if results.has(scenario, RUN, method, seed, folder):
        return
    gold, retraining = bench.retrained
    if values is None:
        found = bench.measure(medium_workplace(seed + OTHER).model(bench.catalog, bench.forgotten)[0])
        cost: dict[str, Any] = {"unlearn_seconds": retraining}
    else:
        try:
            forgotten = tuned(bench, method, values).forget(method)
        except ExpungeError as error:
            print(f"{scenario} {method} {seed}: {error}", flush=True)
            return
        found, cost = bench.measure(forgotten.clip), forgotten.cost
    content = {
        "values": values or {},
        "distance": distance(found.metrics, gold.metrics),
        "cost": cost | {"retrain_seconds": retraining},
    }
    results.record(results.measured(scenario, RUN, method, seed, content), folder)
    print(f"{scenario} {method} {seed}: gap {content['distance']['average_gap']:.1f}", flush=True)


def ranking(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """Mean distances of each method over all runs, the closest first; `runs` says how many those are."""
    rows = []
    for method, chosen in grouped(results.of_kind(RUN, list(SETS), folder), lambda one: one.method).items():
        means = {key: fmean(one.content["distance"][key] for one in chosen) for key in ALL}
        cheaper = fmean(one.content["cost"]["retrain_seconds"] for one in chosen) / max(
            1e-3, fmean(one.content["cost"]["unlearn_seconds"] for one in chosen)
        )
        rows.append({"method": method, "runs": len(chosen), "cheaper": cheaper, **means})
    return sorted(rows, key=lambda row: row["average_gap"])


def main(arguments: Sequence[str] | None = None) -> None:
    """Run what has no result yet."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=SEEDS)
    parser.add_argument("--scenarios", nargs="+", choices=SETS, default=SETS)
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder to write to")
    options = parser.parse_args(arguments)
    chosen = {one.method.partition(",")[0]: one.content["values"] for one in searched()}
    for seed in options.seeds:
        for scenario in options.scenarios:
            bench = Bench(medium_workplace(seed), SCENARIOS[scenario])
            for method, values in {AGAIN: None, **chosen}.items():
                missing(bench, method, values, options.results)


if __name__ == "__main__":
    main()
