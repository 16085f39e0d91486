"""docs/benchmark-appendix.md: every result of the benchmark, scenario by scenario."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.forgetting.distance import GOLD, GROUPS, ORIGINAL, RECALL, SIMILARITY
from bench.forgetting.results import EARLIER, EXAMINATION, RESULTS, RUN, Result, of_kind
from bench.forgetting.scenarios import HARD, REPORTED, SCENARIOS, VALIDATION, Scenario
from bench.forgetting.spread import judged_anew
from bench.forgetting.tables import COLUMNS, Runs, covered, diagnoses, grouped, mean, table, times_cheaper
from expunge.examination.answers import figures
from expunge.examination.scores import scores

SCORES = {"ToW": "tow", "ToW-MIA": "tow_mia", "H-mean": "h_mean", "NoMUS": "nomus"}
HEAD = """# The forgetting benchmark: all results

Written by `python -m bench.forgetting.write` from `bench/results/forgetting/`. The words are those of
[the benchmark](benchmark.md), which says what follows from these tables.
"""
SCORES_MEANING = """Single scores by which papers rank methods; 1 is best. All are lossy, since forgetting can be traded
for usefulness at the same score, so the gate reads none of them. ToW, the *tug of war*, is the product of
1 − |distance in R@1| over forget, retain and test (Zhao et al. 2024); ToW-MIA has the AUC of the membership inference
attack (MIA) in place of the R@1 on the forget set. H-mean is the harmonic mean of R@1 on the retain set and the drop of
R@1 on the forget set (GS-LoRA, Zhao et al. 2024). NoMUS is the mean of the R@1 on test and 1 − 2 |AUC − ½| (Choi & Na
2023)."""


def appendix() -> str:
    """The whole page."""
    runs, earlier = Runs(judged_anew([one.name for one in REPORTED])), Runs(_runs(REPORTED))
    parts = [
        HEAD,
        "## Scenarios\n",
        table(["scenario", "what is to be forgotten"], [[f"`{one.name}`", one.meaning] for one in SCENARIOS.values()]),
        "## All methods, mean distance to the gold standard\n",
        _means(runs.in_turn),
        f"## All methods, single scores\n\n{SCORES_MEANING}\n",
        _scores(runs),
        "## Each scenario\n\nR@1 / mean cosine in each set.\n",
        *(_scenario(one, runs.results) for one in REPORTED),
        *_examinations(RESULTS, "## Further questions"),
        "## By the earlier recipe\n\n64 epochs of both towers together, without `train.text_finish`.\n",
        "## All methods of the earlier recipe, mean distance to its gold standard\n",
        _means(earlier.in_turn),
        "## Each scenario, by the earlier recipe\n\nR@1 / mean cosine in each set.\n",
        *(_scenario(one, earlier.results) for one in REPORTED),
        "## Hard forget sets\n\nChosen by `python -m bench.forgetting.hard`; not part of the means above.\n",
        *(_scenario(one, _runs(HARD)) for one in HARD),
        "## What hyperparameters were chosen on\n",
        *(_scenario(one, _runs(VALIDATION)) for one in VALIDATION),
        *_examinations(EARLIER, "## Further questions, by the earlier recipe"),
    ]
    return "\n".join(part for part in parts if part)


def _runs(scenarios: Sequence[Scenario]) -> list[Result]:
    """Runs by the earlier recipe."""
    return of_kind(RUN, [scenario.name for scenario in scenarios], EARLIER)


def _means(runs: Sequence[Result]) -> str:
    """One row a method; a method that lacks a scenario says how many it has."""
    by_method = grouped(runs, lambda run: run.method)
    rows = []
    for name in sorted(by_method, key=lambda name: mean(by_method[name], "average_gap")):
        chosen = by_method[name]
        figures = [f"{mean(chosen, key):.3f}" for key in COLUMNS.values()]
        cheaper = f"{fmean(times_cheaper(run) for run in chosen):.0f}×"
        gap = f"{mean(chosen, 'average_gap'):.1f}"
        rows.append([f"`{name}`", covered(chosen), gap, *figures, cheaper, diagnoses(chosen)])
    return table(["method", "scenarios × seeds", "average gap", *COLUMNS, "cheaper by", "diagnoses"], rows)


def _scores(runs: Runs) -> str:
    found: dict[str, list[dict[str, Any]]] = {}
    for run in runs.in_turn:
        yardsticks = runs.block(run, ORIGINAL), runs.block(run, GOLD)
        found.setdefault(run.method, []).append(scores(yardsticks[0], run.content["metrics"], yardsticks[1]))
    means = {name: {key: fmean(one[key] for one in each) for key in SCORES.values()} for name, each in found.items()}
    order = sorted(means, key=lambda name: -means[name]["tow"])
    return table(
        ["method", *SCORES], [[f"`{name}`", *(f"{means[name][key]:.3f}" for key in SCORES.values())] for name in order]
    )


def _scenario(scenario: Scenario, found: Sequence[Result]) -> str:
    chosen = [run for run in found if run.scenario == scenario.name]
    if not chosen:
        return ""
    rows = []
    for run in sorted(chosen, key=lambda run: (run.seed, _rank(run))):
        metrics, cost = run.content["metrics"], run.content.get("cost", {})
        figures = [f"{metrics[group][RECALL]:.3f} / {metrics[group][SIMILARITY]:.3f}" for group in GROUPS]
        gap = f"{run.content['distance']['average_gap']:.1f}" if "distance" in run.content else ""
        seconds = cost.get("unlearn_seconds", cost.get("retrain_seconds"))
        row = [f"`{run.method}`", str(run.seed), *figures, f"{metrics['mia_auc']:.3f}", gap]
        store = run.source["store"]
        rows.append([*row, f"{seconds:.1f}" if seconds else "", store, run.content.get("diagnosis", "")])
    head = ["model", "seed", *GROUPS, "attack AUC", "gap", "seconds", "store", "diagnosis"]
    return f"### `{scenario.name}`\n\n{scenario.meaning}\n\n{table(head, rows)}"


def _rank(run: Result) -> float:
    """The original first, then the gold standard, then by average gap."""
    return {ORIGINAL: -2.0, GOLD: -1.0}.get(run.method) or run.content["distance"]["average_gap"]


def _examinations(folder: Path, title: str) -> list[str]:
    """The further questions: one table a scenario, a column a model."""
    found = grouped(of_kind(EXAMINATION, [one.name for one in REPORTED], folder), lambda one: one.scenario)
    if not found:
        return []
    parts = [f"{title}\n\nRead each figure against that of the gold standard, not against zero.\n"]
    for name, chosen in found.items():
        order = sorted(chosen, key=lambda one: (one.method not in (ORIGINAL, GOLD), one.method, one.seed))
        columns = [figures(one.content) for one in order]
        keys = dict.fromkeys(key for column in columns for key in column)
        rows = [[key, *(f"{column[key]:.3f}" if key in column else "" for column in columns)] for key in keys]
        heads = [f"`{one.method}`, seed {one.seed}" for one in order]
        parts.append(f"### `{name}`\n\n{table(['question', *heads], rows)}")
    return parts
