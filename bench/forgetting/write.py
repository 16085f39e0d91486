"""bench/results/forgetting → docs/benchmark.md, its appendix and its figure; no number there is typed by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import fmean, median
from textwrap import fill
from typing import Any

from matplotlib.figure import Figure

from bench.forgetting.appendix import appendix
from bench.forgetting.distance import GOLD, ORIGINAL, RECALL, SIMILARITY, distance
from bench.forgetting.results import EARLIER, EXACT, RUN, Result, of_kind
from bench.forgetting.run import NOT_COMPARED
from bench.forgetting.scenarios import HARD, REPORTED, SCENARIOS, VALIDATION
from bench.forgetting.small_tables import small_sections
from bench.forgetting.spread import ERRORS, judged_anew
from bench.forgetting.tables import (
    COLUMNS,
    SHARED,
    Runs,
    covered,
    deviation,
    diagnoses,
    grouped,
    mean,
    table,
    times_cheaper,
)
from expunge.project.files import atomic_path, read_json, write_bytes
from expunge.settings import load_params

PAGE = Path("docs/benchmark.md")
APPENDIX = Path("docs/benchmark-appendix.md")
FIGURE = Path("docs/images/benchmark.svg")


def main() -> None:
    """Write both pages and the figure."""
    reported = [scenario.name for scenario in REPORTED]
    runs, earlier = Runs(judged_anew(reported)), Runs(of_kind(RUN, reported, EARLIER))
    parts = [
        _head(runs),
        f"## Mean distance from the gold standard\n\n{_leading(runs.ranked)}",
        _floor(runs),
        _gate(read_json(ERRORS)),
        _cost(runs),
        _exact(of_kind(EXACT, list(SCENARIOS))),
        *small_sections(),
        _earlier(earlier),
        _hard(of_kind(RUN, [scenario.name for scenario in HARD], EARLIER)),
        _again(),
    ]
    write_bytes(PAGE, "\n".join(part for part in parts if part).encode())
    write_bytes(APPENDIX, appendix().encode())
    _draw(earlier.in_turn)
    print(f"Wrote {PAGE} and {APPENDIX}; {len(runs.results) + len(earlier.results)} runs of reported scenarios.")


def _head(runs: Runs) -> str:
    chosen = (
        "Hyperparameters are those of `params.yaml`; they were chosen on other forget sets "
        f"({', '.join(f'`{scenario.name}`' for scenario in VALIDATION)}). What the reported scenarios gave away "
        "nevertheless is in [the log](log.md)."
    )
    origin = (
        f"{_origin(runs)} A seed determines the base model, the gold standard, the retain set and the batches. The "
        "benchmark forgets by the very steps of the pipeline."
    )
    return f"""# The forgetting benchmark

Which unlearning method comes closest to a model that never saw the data, and at what price? {len(REPORTED)} scenarios
say what is to be forgotten: a small and a large class, random pictures, one figure, a concept that cuts across classes,
a sequence of five releases, and facts about made-up persons. This page has what decides between methods; every single
result is in the [appendix](benchmark-appendix.md).

**The yardstick** is the *gold standard*: the model retrained from scratch without the forget set, with the same recipe
and the same seed. A *distance* is the absolute difference from it.

- *R@1* (recall at 1): the share of pictures whose own caption ranks first among all captions of the catalog.
- *Cosine*: the mean similarity of a picture and its caption.
- *Attack AUC*: the area under the ROC curve of a membership inference attack, which tries to tell forgotten pairs from
  pairs that no model has seen. At 0.5 the attacker guesses.
- *Forget* are the pairs to be forgotten. *Neighbours* (200) and *retain* (512) are shown to a method, with their
  pictures, as what it must guard; *unguarded* are all other training pairs, of which a method may read captions and
  cached embeddings only; *test* pairs were never trained on.
- *Average gap*: the mean distance in R@1 on forget, retain and test and in attack AUC, in percentage points.
- *Deviation*: the standard deviation of the forgotten pairs' cosines, as a share of the gold standard's.
- The *diagnosis* is what the release gate says of the run, by the gold standard of its seed.

{fill(origin, 120, break_on_hyphens=False)}

{fill(chosen, 120, break_on_hyphens=False)}
"""


def _origin(runs: Runs) -> str:
    machines = {
        f"{run.source['machine']['processor']}, {run.source['machine']['cores']} cores, "
        f"Python {run.source['machine']['python']}"
        for run in runs.results
    }
    seeds = sorted({run.seed for run in runs.results})
    return (
        f"Machine: {'; '.join(sorted(machines))}, no GPU; each run used one core, other jobs had the rest. "
        f"Seeds: {', '.join(map(str, seeds))}."
    )


def _leading(runs: Sequence[Result]) -> str:
    """Methods that were run as often as any, the default marked."""
    rows, default = [], load_params().release.methods[0]
    for name, chosen in grouped(runs, lambda run: run.method).items():
        figures = [f"{mean(chosen, key):.3f}" for key in COLUMNS.values()]
        label = f"**`{name}`** (default)" if name == default else f"`{name}`"
        rows.append([label, covered(chosen), f"**{mean(chosen, 'average_gap'):.1f}**", *figures, diagnoses(chosen)])
    return table(["method", "scenarios × seeds", "average gap", *COLUMNS, "diagnoses"], rows)


def _earlier(runs: Runs) -> str:
    """What more methods did by the recipe before."""
    measured = {run.method for run in runs.in_turn} | set(NOT_COMPARED)
    unknown = ", ".join(f"`{name}`" for name in sorted(set(load_params().unlearn.methods) - measured))
    text = (
        "More methods were compared when the base model was trained for 64 epochs with both towers together, without "
        f"`train.text_finish`. {_origin(runs)} The parent's embeddings were given to the methods in float32, not in "
        "the float16 of the embedding store, and the gate had fixed limits around one gold standard. Each method is "
        "compared with the gold standard of that recipe, so these distances may be read beside those above, with "
        f"care. Of the methods in `params.yaml` these were not among them: {unknown}."
    )
    return f"""## More methods, by an earlier recipe

{fill(text, 120, break_on_hyphens=False)}

{_leading(runs.leading)}
![Forgetting against retention]({FIGURE.relative_to("docs")})

{_costs(runs)}"""


def _gate(errors: Mapping[str, Any]) -> str:
    """How often the gate errs, from what `bench.forgetting.spread` counted."""
    tried = errors["retrainings"]
    rows = [[f"*{name}*", f"{count} passed"] for name, count in errors["impostors_passed"].items()]
    rows += [[f"`{name}`", f"{count} passed"] for name, count in errors["methods_passed"].items()]
    return f"""## How often the gate errs

A true retraining, judged by one of another seed with the spread of the other sets: {len(tried["refused"])} of
{tried["judged"]} refused, at a limit of {errors["spreads"]} spreads. Each model below is judged by the gold standard of
its seed, with the spread that comes with the library; impostors are gold standards with one mark of careless
unlearning (`bench/forgetting/impostors.py`).

{table(["model", "verdict"], rows)}"""


def _floor(runs: Runs) -> str:
    """How far two gold standards of different seeds are apart: no method can be expected to come closer."""
    pairs = runs.gold_pairs
    if not pairs:
        return ""
    groups = {f"two retrainings, {len(pairs)} pairs": pairs}
    for name, chosen in grouped(runs.ranked, lambda run: run.method).items():
        groups[f"`{name}`, {len(chosen)} runs"] = [(run.content["metrics"], runs.block(run, GOLD)) for run in chosen]
    found = []
    for name, compared in groups.items():
        distances = [distance(*pair) for pair in compared]
        means = {key: fmean(each[key] for each in distances) for key in SHARED.values()}
        gap = 100 * fmean(means[key] for key in SHARED.values() if key != "forget_similarity")
        shares = sorted(deviation(*pair) for pair in compared)
        narrow = f"{median(shares):.2f} ({shares[0]:.2f} to {shares[-1]:.2f})"
        found.append((gap, [name, f"{gap:.1f}", *(f"{mean:.3f}" for mean in means.values()), narrow]))
    head = ["compared", "average gap", *SHARED, "deviation, median (range)"]
    return f"""## The floor: two retrainings with different seeds

Two gold standards of one scenario differ as well, and no method can be expected to come closer than they do.
Neighbours and retain set are different pictures for each seed, so they are left out here; the average gap is over the
four remaining figures in R@1 and AUC.

{table(head, [row for _, row in sorted(found)])}"""


def _cost(runs: Runs) -> str:
    return f"""## Cost

Seconds on one core: the median over scenarios of one release. The last column is the mean over all scenarios; where
five sets are forgotten in turn, the cost is compared with that of five retrainings.

{_costs(runs)}"""


def _costs(runs: Runs) -> str:
    by_method = grouped(runs.in_turn, lambda run: run.method)
    rows = []
    for name in sorted(by_method, key=lambda name: -fmean(times_cheaper(run) for run in by_method[name])):
        chosen = [run for run in by_method[name] if len(SCENARIOS[run.scenario].releases) == 1]
        seconds = median(run.content["cost"]["unlearn_seconds"] for run in chosen)
        retraining = median(run.content["cost"]["retrain_seconds"] for run in chosen)
        cheaper = fmean(times_cheaper(run) for run in by_method[name])
        rows.append([f"`{name}`", f"{seconds:.1f}", f"{retraining:.0f}", f"{cheaper:.0f}×"])
    return table(["method", "seconds to unlearn", "seconds to retrain", "cheaper by"], rows)


def _hard(runs: Sequence[Result]) -> str:
    """Forget sets that were chosen to be hard."""
    chosen = [run for run in runs if run.method not in (ORIGINAL, GOLD)]
    if not chosen:
        return ""
    rows = []
    for run in chosen:
        gap = f"{run.content['distance']['average_gap']:.1f}"
        meaning = SCENARIOS[run.scenario].meaning
        rows.append([f"`{run.scenario}`", meaning, f"`{run.method}`", gap, run.content["diagnosis"]])
    return "## Hard forget sets\n\n" + table(["forget set", "what it is", "method", "average gap", "diagnosis"], rows)


def _exact(found: Sequence[Result]) -> str:
    """Sharded training and the linear probe, which forget exactly by construction."""
    parts = []
    for one in found:
        cost, where = one.content["cost"], f"`{one.scenario}`, seed {one.seed}"
        if one.method == "sharded":
            before, after = one.content["original"], one.content["metrics"]
            figures = "; ".join(
                f"{group} R@1 {before[group][RECALL]:.3f} → {after[group][RECALL]:.3f}, "
                f"cosine {before[group][SIMILARITY]:.3f} → {after[group][SIMILARITY]:.3f}"
                for group in ("forget", "retain", "test")
            )
            parts.append(
                f"- *Sharded adapters* ({where}): {figures}. Training took {cost['train_seconds']:.0f} s, the deletion "
                f"{cost['unlearn_seconds']:.0f} s for {cost['retrained_slices']} of {cost['slices']} slices."
            )
        elif one.method == "slices":
            parts += [_slices(name, deletion) for name, deletion in one.content["deletions"].items()]
        else:
            accuracy = one.content["accuracy"]
            parts.append(
                f"- *Linear probe* ({where}): forgetting in closed form took {1000 * cost['unlearn_seconds']:.1f} ms, "
                f"fitting again {1000 * cost['retrain_seconds']:.1f} ms; no weight differs by more than "
                f"{one.content['greatest_difference']:.0e}. Accuracy on forgotten pictures "
                f"{accuracy['forget'][0]:.3f} → {accuracy['forget'][1]:.3f}, on test "
                f"{accuracy['test'][0]:.3f} → {accuracy['test'][1]:.3f}."
            )
    if not parts:
        return ""
    intro = "Models that are built so that forgetting is exact pay in advance. Figures before → after the deletion."
    return f"## Exact unlearning\n\n{intro}\n\n" + "\n".join(parts) + "\n"


def _slices(name: str, deletion: Mapping[str, Any]) -> str:
    """One sample deleted from a model that was trained in slices."""
    own, anew = deletion["deletion"], deletion["training_anew"]
    times = anew["cpu_seconds"] / own["cpu_seconds"]
    bits = "the same bits" if deletion["same_bits"] else "other bits"
    return (
        f"- *`train.sharded`*, a sample of the {name} slice of a shard: {own['slices']} of {anew['slices']} slices "
        f"trained again in {own['cpu_seconds']:.0f} processor seconds; training all without it takes "
        f"{anew['cpu_seconds']:.0f} and gives {bits}: {times:.0f} times cheaper."
    )


def _again() -> str:
    return """## Measure again

`make bench-forgetting` measures what is missing in `bench/results/forgetting/` and writes both pages again. For one
row, delete its line in `SCENARIO.jsonl` and run `python -m bench.forgetting.run --seeds SEED --scenarios SCENARIO
--methods METHOD`; for exact unlearning, `python -m bench.forgetting.exact --scenarios SCENARIO`. Each line holds its
machine, command, commit, hyperparameters and seed.
"""


def _draw(runs: Sequence[Result]) -> None:
    """Distance in forgetting against distance in retention, area by cost; the corner is the gold standard."""
    canvas = Figure(figsize=(8, 5.2), layout="constrained")
    axes, ours = canvas.subplots(), load_params().release.methods[0]
    for name, chosen in grouped(runs, lambda run: run.method).items():
        forgetting = fmean([mean(chosen, "forget_recall"), mean(chosen, "forget_similarity")])
        keys = ("neighbours_recall", "neighbours_similarity", "retain_recall", "unguarded_recall")
        retention = fmean(mean(chosen, key) for key in keys)
        share = fmean(1 / times_cheaper(run) for run in chosen)
        axes.scatter(forgetting, retention, s=3000 * share, alpha=0.6, color="#d55e00" if name == ours else "#0072b2")
        axes.annotate(name, (forgetting, retention), xytext=(5, 4), textcoords="offset points", fontsize=8)
    axes.set(xlim=(0, None), ylim=(0, None))
    axes.set_xlabel("forgetting: distance from the gold standard (mean of R@1 and cosine)")
    axes.set_ylabel("retention: distance from the gold standard (neighbours, retain, unguarded)")
    axes.set_title("Nearer to the corner is better; area is the cost as a share of retraining", fontsize=10)
    with atomic_path(FIGURE) as partial:
        canvas.savefig(partial, format="svg", metadata={"Date": None})


if __name__ == "__main__":
    main()
