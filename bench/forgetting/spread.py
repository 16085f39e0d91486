"""How far retrainings lie apart → expunge/evaluation/spread.json; how often the gate errs → bench/results/gate.json.

Sources are the gold standards of the benchmark (each scenario retrained with several seeds) and those of the demo's
forget set in bench/results/demo_retrainings.json.

- Of what is forgotten: pooled variance about the mean of each set's retrainings.
- Of what stays: a gold standard minus the original of the same seed. Both were trained on these pairs, so they differ
  as two trainings differ, on the same pairs; half of the mean square is the variance of one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from statistics import fmean
from typing import Any

from bench.forgetting import results
from bench.forgetting.distance import GOLD, ORIGINAL
from bench.forgetting.results import RESULTS, RUN
from bench.forgetting.scenarios import SCENARIOS
from expunge.evaluation.figures import FORGOTTEN, RETAINED
from expunge.evaluation.gate import JudgedModel, judge
from expunge.evaluation.spread import Spread, recorded
from expunge.project.files import read_json, rounded, write_json
from expunge.settings import load_params

SPREAD = Path("expunge/evaluation/spread.json")
ERRORS = Path("bench/results/gate.json")
DEMO = Path("bench/results/demo_retrainings.json")
Blocks = dict[str, Any]


def golds(names: list[str]) -> dict[str, dict[int, Blocks]]:
    """Scenario → seed → block `M` of its gold standard; the demo's set among them."""
    found: dict[str, dict[int, Blocks]] = {name: _recorded(name, GOLD) for name in names}
    found["demo"] = {int(seed): block for seed, block in read_json(DEMO)["retrained"].items()}
    return found


def forgotten(sets: dict[str, dict[int, Blocks]]) -> dict[str, dict[str, float]]:
    """The spread of what is forgotten, over sets that were retrained more than once."""
    values: dict[str, list[list[float]]] = defaultdict(list)
    for seeds in sets.values():
        for figure in FORGOTTEN:
            blocks = [block["forget"] for block in seeds.values()]
            if figure.name != "forget_deviation" or all("pair_similarity_sd" in block for block in blocks):
                values[figure.name].append([figure.read(block) for block in blocks])
            else:
                known = [block for block in blocks if "pair_similarity_sd" in block]
                values[figure.name].append([figure.read(block) for block in known])
        values["membership"].append([block["mia_auc"] for block in seeds.values()])
    return {name: _pooled(groups) for name, groups in values.items()}


def retained(names: list[str]) -> dict[str, dict[str, float]]:
    """The spread of what stays."""
    gaps: dict[str, list[float]] = defaultdict(list)
    for name in names:
        originals = _recorded(name, ORIGINAL)
        for seed, block in _recorded(name, GOLD).items():
            for figure in RETAINED:
                gaps[figure.name].append(figure.read(block[figure.group]) - figure.read(originals[seed][figure.group]))
    return {
        name: {"deviation": math.sqrt(fmean(gap**2 for gap in found) / 2), "degrees": len(found)}
        for name, found in gaps.items()
    }


def spread(names: list[str]) -> dict[str, Any]:
    """The content of spread.json, from the scenarios `names` and the demo's set."""
    sets = golds(names)
    counts = [block["forget"]["count"] for seeds in sets.values() for block in seeds.values()]
    return {
        "origin": f"gold standards of {RESULTS} by scenario and seed, and of {DEMO}; see bench/forgetting/spread.py",
        "smallest_set": min(counts),
        "figures": rounded(forgotten(sets) | retained(names)),
    }


def _pooled(groups: list[list[float]]) -> dict[str, float]:
    several = [group for group in groups if len(group) > 1]
    degrees = sum(len(group) - 1 for group in several)
    squares = sum((value - fmean(group)) ** 2 for group in several for value in group)
    return {"deviation": math.sqrt(squares / degrees), "degrees": degrees}


def _recorded(scenario: str, name: str) -> dict[int, Blocks]:
    return {run.seed: run.content["metrics"] for run in _runs(scenario) if run.method == name}


def _runs(scenario: str) -> list[results.Result]:
    return [result for result in results.read(scenario) if result.kind == RUN]


def scenarios() -> list[str]:
    """Names of the scenarios that have results."""
    return [name for name in SCENARIOS if _runs(name)]


def retrainings_refused(names: list[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Each recorded retraining judged by one of another seed, with the spread of the *other* sets.

    On what stays each retraining has its own pairs (the parent of its seed chose them), so it is judged on what it
    gained or lost against its original.
    """
    params = load_params().gate
    for name in [*names, "demo"]:
        others = [other for other in names if other != name]
        content = spread(others) if name != "demo" else _without_demo(others)
        known = Spread({key: value["deviation"] for key, value in content["figures"].items()}, content["smallest_set"])
        seeds = golds(names)[name]
        originals = _recorded(name, ORIGINAL) if name != "demo" else {}
        for own, candidate in seeds.items():
            for other, reference in seeds.items():
                if own != other:
                    moved = _moved(candidate, reference, originals.get(own), originals.get(other))
                    one, another = _alike(moved, reference)
                    yield name, *_verdict(judge(params, JudgedModel(one), [JudgedModel(another)], spread=known))


def methods_passed(names: list[str]) -> Iterator[tuple[str, str, bool, list[str]]]:
    """Each recorded run of a method, and the original, judged by the gold standard of its seed."""
    for name in names:
        for method, gate in _judged(name):
            yield name, method, gate["passed"], [check["name"] for check in gate["checks"] if not check["passed"]]


def judged_runs(names: list[str]) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Method and the gate's checks of each recorded run, the original's left out."""
    for name in names:
        for method, gate in _judged(name):
            if method != ORIGINAL:
                yield method, gate["checks"]


def _judged(name: str) -> Iterator[tuple[str, dict[str, Any]]]:
    params, known = load_params().gate, recorded()
    seeds = _recorded(name, GOLD)
    for result in _runs(name):
        if result.method != GOLD and result.seed in seeds:
            run, gold = _alike(result.content["metrics"], seeds[result.seed])
            yield result.method, judge(params, JudgedModel(run), [JudgedModel(gold)], spread=known)["gate"]


def _verdict(found: dict[str, Any]) -> tuple[bool, list[str]]:
    gate = found["gate"]
    return gate["passed"], [check["name"] for check in gate["checks"] if not check["passed"]]


def _alike(candidate: Blocks, reference: Blocks) -> tuple[Blocks, Blocks]:
    """Both blocks, without the standard deviation over pairs unless both have it: early runs did not record it."""
    blocks = [dict(candidate), dict(reference)]
    if not all("pair_similarity_sd" in block["forget"] for block in blocks):
        for block in blocks:
            block["forget"] = block["forget"] | {"pair_similarity_sd": 1.0}
    return blocks[0], blocks[1]


def _moved(candidate: Blocks, reference: Blocks, own: Blocks | None, other: Blocks | None) -> Blocks:
    """`candidate` as it would read on the retained pairs of `reference`.

    What the one gained over its original less what the other gained is a difference of four trainings; that of two,
    which the judge is to see, is smaller by the square root of two.
    """
    if not own or not other:
        return candidate

    def moved(group: str, name: str) -> float:
        gains = candidate[group][name] - own[group][name] - reference[group][name] + other[group][name]
        return reference[group][name] + gains / math.sqrt(2)

    names = ("image_to_text_r1", "text_to_image_r1", "pair_similarity")
    return candidate | {
        group: {name: moved(group, name) for name in names} for group in ("neighbours", "retain", "test")
    }


def _without_demo(names: list[str]) -> dict[str, Any]:
    sets = {name: _recorded(name, GOLD) for name in names}
    smallest = min(block["forget"]["count"] for seeds in sets.values() for block in seeds.values())
    return {"smallest_set": smallest, "figures": forgotten(sets) | retained(names)}


def main() -> None:
    """Write both files."""
    names = scenarios()
    write_json(SPREAD, spread(names))
    recorded.cache_clear()
    several = [name for name in names if len(_recorded(name, GOLD)) > 1]
    tried = list(retrainings_refused(several))
    refused = [(name, failed) for name, passed, failed in tried if not passed]
    runs = list(methods_passed(names))
    methods = sorted({method for _, method, *_ in runs})
    write_json(
        ERRORS,
        {
            "spreads": load_params().gate.spreads,
            "retrainings": {"judged": len(tried), "refused": [{"set": name, "by": by} for name, by in refused]},
            "passed": {
                method: f"{sum(run[2] for run in runs if run[1] == method)} of {sum(run[1] == method for run in runs)}"
                for method in methods
            },
        },
    )
    print(f"retrainings refused: {len(refused)} of {len(tried)}")


if __name__ == "__main__":
    main()
