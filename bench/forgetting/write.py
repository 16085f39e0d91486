"""bench/results/forgetting → docs/benchmark.md and its figure; no number in that page is typed by hand."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

from matplotlib.figure import Figure

from bench.forgetting.run import GOLD, GROUPS, ORIGINAL, RECALL, RESULTS, SIMILARITY, distance
from bench.forgetting.scenarios import HARD, REPORTED, SCENARIOS, VALIDATION, Scenario
from expunge.project.files import atomic_path, read_json
from expunge.settings import load_params

PAGE = Path("docs/benchmark.md")
FIGURE = Path("docs/images/benchmark.svg")
COLUMNS = {
    "forget R@1": "forget_recall",
    "forget cosine": "forget_similarity",
    "neighbours R@1": "neighbours_recall",
    "neighbours cosine": "neighbours_similarity",
    "retain R@1": "retain_recall",
    "unguarded R@1": "unguarded_recall",
    "test R@1": "test_recall",
    "MIA AUC": "mia_auc",
}
SHARED = {name: key for name, key in COLUMNS.items() if not key.startswith(("neighbours", "retain"))}
"""Figures of pictures that are the same for every seed."""
VERDICTS = ("effective", "ineffective", "over-generalised", "catastrophic")


@dataclass(frozen=True)
class Result:
    """One file of results."""

    scenario: str
    method: str
    seed: int
    content: dict[str, Any]


def results(scenarios: Sequence[Scenario] = REPORTED) -> list[Result]:
    """All results of `scenarios`, without examinations, sorted."""
    found = []
    for scenario in scenarios:
        for file in sorted((RESULTS / scenario.name).glob("*.json")):
            method, _, seed = file.stem.rpartition("-")
            if not method.startswith("examined_"):
                found.append(Result(scenario.name, method, int(seed), read_json(file)))
    return found


def main() -> None:
    """Write the page and the figure."""
    found = results()
    runs = [result for result in found if result.method not in (ORIGINAL, GOLD)]
    in_turn = [result for result in runs if not result.method.endswith("_joint")]
    parts = [
        _head(found),
        _scenarios(),
        "## All methods, mean distance to the gold standard\n",
        _means(in_turn),
        f"![Forgetting against retention]({FIGURE.relative_to('docs')})\n",
        _seeds(found, in_turn),
        "## Each scenario\n",
        *(_scenario(scenario.name, found) for scenario in REPORTED),
        "## Hard forget sets\n\nChosen by `python -m bench.forgetting.hard`; not part of the means above.\n",
        *(_scenario(scenario.name, results(HARD)) for scenario in HARD),
        "## What hyper-parameters were chosen on\n",
        *(_scenario(scenario.name, results(VALIDATION)) for scenario in VALIDATION),
        _examinations(),
    ]
    with atomic_path(PAGE) as partial:
        Path(partial).write_text("\n".join(part for part in parts if part), encoding="utf-8")
    _draw(in_turn)
    print(f"Wrote {PAGE} from {len(found)} results.")


def _head(found: Sequence[Result]) -> str:
    machine = found[0].content["machine"]
    seeds = sorted({result.seed for result in found})
    return f"""# The forgetting benchmark

Written by `python -m bench.forgetting.write` from `bench/results/forgetting/`; `make bench-forgetting` runs what is
missing there and writes this page again. Machine: {machine["processor"]}, {machine["cores"]} cores, Python
{machine["python"]}, no GPU; each run on one core. Seeds: {", ".join(str(seed) for seed in seeds)}; a seed draws base
model, gold standard, retain set and batches.

Every figure is compared with the *gold standard*, the model retrained from scratch without the forget set, same recipe
and seed. All ranks are against the whole catalog. `neighbours` (200) and `retain` (512) are what a method is shown to
guard, with pictures; `unguarded` are all other trained pairs, of which a method may read the captions and the parent's
cached embeddings (the default does); `test` was never trained on. *Average gap*: mean distance in R@1 on forget, retain
and test and in membership AUC, in percentage points. The diagnosis is that of the gate in params.yaml, with nothing put
down to chance. In the scenario `sequence` a name that ends in `_joint` has forgotten all five sets in one release;
where they were forgotten in turn, the cost is compared with five retrainings.

One row again: `python -m bench.forgetting.run --seeds SEED --scenarios SCENARIO --methods METHOD`, after the file
`bench/results/forgetting/SCENARIO/METHOD-SEED.json` was deleted. Hyper-parameters are those of params.yaml; each
file repeats its own. They were chosen on other forget sets: {", ".join(f"`{s.name}`" for s in VALIDATION)};
what the reported scenarios gave away all the same is in [the log](log.md).
"""


def _scenarios() -> str:
    rows = [[f"`{scenario.name}`", scenario.meaning] for scenario in REPORTED]
    return "## Scenarios\n\n" + _table(["scenario", "what is to be forgotten"], rows)


def _means(runs: Sequence[Result]) -> str:
    """One row a method; a method that lacks a scenario says how many it has."""
    by_method = _grouped(runs, lambda result: result.method)
    order = sorted(by_method, key=lambda name: (-len(_covered(by_method[name])), _mean(by_method[name], "average_gap")))
    rows = []
    for name in order:
        chosen = by_method[name]
        verdicts = [result.content["diagnosis"] for result in chosen]
        counts = ", ".join(f"{verdicts.count(word)} {word}" for word in VERDICTS if word in verdicts)
        cheaper = fmean(_times_cheaper(result) for result in chosen)
        figures = [f"{_mean(chosen, key):.3f}" for key in COLUMNS.values()]
        covered, seeds = _covered(chosen), {result.seed for result in chosen}
        gap = f"**{_mean(chosen, 'average_gap'):.1f}**"
        rows.append([f"`{name}`", f"{len(covered)} × {len(seeds)}", gap, *figures, f"{cheaper:.0f}×", counts])
    head = ["method", "scenarios × seeds", "average gap", *COLUMNS, "cheaper than retraining", "diagnoses"]
    return _table(head, rows)


def _seeds(found: Sequence[Result], runs: Sequence[Result]) -> str:
    """How far two gold standards of different seeds are from one another: no method can be expected to come closer."""
    golds = _grouped([result for result in found if result.method == GOLD], lambda result: result.scenario)
    pairs = [
        distance(first.content["metrics"], second.content["metrics"])
        for chosen in golds.values()
        for place, first in enumerate(chosen)
        for second in chosen[place + 1 :]
    ]
    if not pairs:
        return ""
    by_method = _grouped(runs, lambda result: result.method)
    most = max(len(chosen) for chosen in by_method.values())
    rows = {f"two retrainings, {len(pairs)} pairs": pairs}
    rows |= {
        f"`{name}`, {most} runs": [result.content["distance"] for result in chosen]
        for name, chosen in by_method.items()
        if len(chosen) == most
    }
    table = []
    for name, distances in rows.items():
        means = {key: fmean(each[key] for each in distances) for key in SHARED.values()}
        gap = 100 * fmean(means[key] for key in SHARED.values() if key != "forget_similarity")
        inside = f"{sum(map(_forgotten, distances))} of {len(distances)}"
        table.append([name, gap, [*(f"{mean:.3f}" for mean in means.values()), inside]])
    table = [[name, f"{gap:.1f}", *figures] for name, gap, figures in sorted(table, key=lambda row: row[1])]
    return f"""## The floor: two retrainings with different seeds

What two gold standards of one scenario differ by, against what a method differs from the gold standard of its own seed.
Neighbours and retain set are other pictures for each seed, so they are left out here, and the average is over the four
other figures in R@1 and AUC. The last column counts where all that is forgotten (R@1, cosine, AUC) lies within the
limits of the gate.

{_table(["compared", "average gap", *SHARED, "forgotten alike"], table)}"""


def _forgotten(distances: dict[str, float]) -> bool:
    """Whether two models differ on the forget set by no more than the gate allows, in either direction."""
    gate = load_params().gate
    return (
        distances["forget_recall"] <= gate.max_excess_forget_recall
        and distances["forget_similarity"] <= gate.max_gap_forget_similarity
        and distances["mia_auc"] <= gate.max_gap_mia_auc
    )


def _scenario(name: str, found: Sequence[Result]) -> str:
    chosen = [result for result in found if result.scenario == name]
    rows = []
    for result in sorted(chosen, key=lambda result: (result.seed, _rank(result))):
        metrics = result.content["metrics"]
        figures = [f"{metrics[group][RECALL]:.3f} / {metrics[group][SIMILARITY]:.3f}" for group in GROUPS]
        gap = f"{result.content['distance']['average_gap']:.1f}" if "distance" in result.content else ""
        cost = result.content.get("cost", {})
        seconds = cost.get("unlearn_seconds", cost.get("retrain_seconds"))
        verdict = result.content.get("diagnosis", "")
        row = [f"`{result.method}`", str(result.seed), *figures, f"{metrics['mia_auc']:.3f}", gap]
        rows.append([*row, f"{seconds:.1f}" if seconds else "", verdict])
    head = ["model", "seed", *GROUPS, "MIA AUC", "gap", "s", "diagnosis"]
    return f"### `{name}`\n\n{SCENARIOS[name].meaning} R@1 / mean cosine.\n\n" + _table(head, rows)


def _rank(result: Result) -> float:
    """The original first, then the gold standard, then by average gap."""
    return {ORIGINAL: -2.0, GOLD: -1.0}.get(result.method) or result.content["distance"]["average_gap"]


def _examinations() -> str:
    """The further questions: one table a scenario, a column a model."""
    parts = ["## Further questions\n\nEach figure is to be read against the gold standard's, not against zero.\n"]
    for scenario in REPORTED:
        files = sorted((RESULTS / scenario.name).glob("examined_*.json"))
        if not files:
            continue
        columns = {file.stem.removeprefix("examined_"): _flat(read_json(file)) for file in files}
        order = sorted(columns, key=lambda name: (name.rpartition("-")[0] not in (ORIGINAL, GOLD), name))
        keys = dict.fromkeys(key for name in order for key in columns[name])
        rows = [
            [key, *(f"{columns[name][key]:.3f}" if key in columns[name] else "" for name in order)]
            for key in keys
            if any(columns[name].get(key) is not None for name in order)
        ]
        parts.append(f"### `{scenario.name}`\n\n" + _table(["question", *(f"`{name}`" for name in order)], rows))
    return "\n".join(parts) if len(parts) > 1 else ""


def _flat(content: Any, key: str = "") -> dict[str, float]:
    """Nested figures under dotted names; the head of the file, counts and lists are left out."""
    if isinstance(content, dict):
        return {
            name: value
            for part, item in content.items()
            if part not in ("machine", "seed", "count", "positives", "negatives", "recall")
            for name, value in _flat(item, f"{key}.{part}" if key else part).items()
        }
    return {key: float(content)} if isinstance(content, int | float) else {}


def _draw(runs: Sequence[Result]) -> None:
    """Distance in forgetting against distance in retention, area by cost; the corner is the gold standard."""
    canvas = Figure(figsize=(8, 5.2), layout="constrained")
    axes = canvas.subplots()
    for name, chosen in _grouped(runs, lambda result: result.method).items():
        forgetting = fmean([_mean(chosen, "forget_recall"), _mean(chosen, "forget_similarity")])
        keys = ("neighbours_recall", "neighbours_similarity", "retain_recall", "unguarded_recall")
        retention = fmean(_mean(chosen, key) for key in keys)
        share = fmean(1 / _times_cheaper(result) for result in chosen)
        default = name == load_params().release.method
        axes.scatter(forgetting, retention, s=3000 * share, alpha=0.6, color="#d55e00" if default else "#0072b2")
        axes.annotate(name, (forgetting, retention), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.set_xlabel("forgetting: distance to gold (mean of R@1 and cosine)")
    axes.set_ylabel("retention: distance to gold (neighbours, retain, unguarded)")
    axes.set_title("Nearer to the corner is better; area is the cost as a share of retraining", fontsize=10)
    with atomic_path(FIGURE) as partial:
        canvas.savefig(partial, format="svg", metadata={"Date": None})


def _grouped(chosen: Iterable[Result], key: Callable[[Result], str]) -> dict[str, list[Result]]:
    groups: dict[str, list[Result]] = defaultdict(list)
    for result in chosen:
        groups[key(result)].append(result)
    return groups


def _covered(chosen: Sequence[Result]) -> set[str]:
    return {result.scenario for result in chosen}


def _mean(chosen: Sequence[Result], key: str) -> float:
    return fmean(result.content["distance"][key] for result in chosen)


def _times_cheaper(result: Result) -> float:
    """Against a retraining for each release; only a joint run needs no more than one."""
    releases = 1 if result.method.endswith("_joint") else len(SCENARIOS[result.scenario].releases)
    return releases * result.content["cost"]["retrain_seconds"] / result.content["cost"]["unlearn_seconds"]


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines) + "\n"


if __name__ == "__main__":
    main()
