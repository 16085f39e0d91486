"""Tables from results: grouping, means and Markdown, shared by the page and its appendix."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import combinations
from statistics import fmean

from bench.forgetting.distance import GOLD, ORIGINAL
from bench.forgetting.results import Result
from bench.forgetting.scenarios import SCENARIOS

COLUMNS = {
    "forget R@1": "forget_recall",
    "forget cosine": "forget_similarity",
    "neighbours R@1": "neighbours_recall",
    "neighbours cosine": "neighbours_similarity",
    "retain R@1": "retain_recall",
    "unguarded R@1": "unguarded_recall",
    "test R@1": "test_recall",
    "attack AUC": "mia_auc",
}
"""Heading → the distance to the gold standard that it shows."""
SHARED = {name: key for name, key in COLUMNS.items() if not key.startswith(("neighbours", "retain"))}
"""Figures of pictures that are the same for every seed, so that two gold standards can be compared in them."""
VERDICTS = ("effective", "ineffective", "over-generalised", "catastrophic")
JOINT = "_joint"


@dataclass(frozen=True)
class Runs:
    """The results of kind `run` of some scenarios."""

    results: Sequence[Result]

    @property
    def in_turn(self) -> list[Result]:
        """Runs of methods, one release after the other where there are several."""
        skipped = (ORIGINAL, GOLD)
        return [run for run in self.results if run.method not in skipped and not run.method.endswith(JOINT)]

    @property
    def leading(self) -> list[Result]:
        """Those of the methods that were run on every scenario with every seed, best first."""
        by_method = grouped(self.in_turn, lambda run: run.method)
        most = max((len(chosen) for chosen in by_method.values()), default=0)
        whole = [chosen for chosen in by_method.values() if len(chosen) == most]
        return [run for chosen in sorted(whole, key=lambda chosen: mean(chosen, "average_gap")) for run in chosen]

    @property
    def ranked(self) -> list[Result]:
        """Those of all methods, best first; a method that lacks runs says so by how many it has."""
        by_method = grouped(self.in_turn, lambda run: run.method)
        ordered = sorted(by_method.values(), key=lambda chosen: mean(chosen, "average_gap"))
        return [run for chosen in ordered for run in chosen]

    @property
    def gold_pairs(self) -> list[tuple[dict, dict]]:
        """The figures of two gold standards of one scenario, every pair of seeds."""
        golds = grouped((run for run in self.results if run.method == GOLD), lambda run: run.scenario)
        return [
            (first.content["metrics"], second.content["metrics"])
            for chosen in golds.values()
            for first, second in combinations(chosen, 2)
        ]

    def block(self, run: Result, method: str) -> dict:
        """The figures of the original or the gold standard that `run` is compared with."""
        [found] = [
            one for one in self.results if (one.scenario, one.method, one.seed) == (run.scenario, method, run.seed)
        ]
        return found.content["metrics"]


def grouped(chosen: Iterable[Result], key: Callable[[Result], str]) -> dict[str, list[Result]]:
    """Results by a key, in the order in which the keys first come."""
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in chosen:
        groups[key(result)].append(result)
    return dict(groups)


def deviation(metrics: dict, gold: dict) -> float:
    """Standard deviation of the forgotten pairs' cosines, as a share of the gold standard's."""
    return metrics["forget"]["pair_similarity_sd"] / gold["forget"]["pair_similarity_sd"]


def mean(chosen: Sequence[Result], key: str) -> float:
    """Mean distance to the gold standard in one figure."""
    return fmean(result.content["distance"][key] for result in chosen)


def covered(chosen: Sequence[Result]) -> str:
    """How many scenarios × seeds there are."""
    return f"{len({run.scenario for run in chosen})} × {len({run.seed for run in chosen})}"


def diagnoses(chosen: Sequence[Result]) -> str:
    """How often the gate said what."""
    verdicts = [run.content["diagnosis"] for run in chosen]
    return ", ".join(f"{verdicts.count(word)} {word}" for word in VERDICTS if word in verdicts)


def times_cheaper(run: Result) -> float:
    """Against a retraining for each release; only a joint run needs no more than one."""
    releases = 1 if run.method.endswith(JOINT) else len(SCENARIOS[run.scenario].releases)
    return releases * run.content["cost"]["retrain_seconds"] / run.content["cost"]["unlearn_seconds"]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A table in Markdown."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"
