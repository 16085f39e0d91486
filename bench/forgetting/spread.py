"""How far retrainings lie apart → expunge/evaluation/spread.json; how often the gate errs → bench/results/gate.json.

Sources are the gold standards of the benchmark, each scenario retrained with several seeds.

- Of what is forgotten: variance about the mean of each set's retrainings. Recall's is pooled. The others have a part
  that falls with the effective number of captions that a set hangs on (`expunge.evaluation.overlap`), and a floor that
  does not; both are fitted over the sets by maximum likelihood.
- Of what stays: a gold standard minus the original of the same seed. Both were trained on these pairs, so they differ
  as two trainings differ, on the same pairs; half of the mean square is the variance of one.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
from scipy.optimize import minimize

from bench.forgetting import results
from bench.forgetting.distance import GOLD, ORIGINAL
from bench.forgetting.results import IMPOSTOR, RESULTS, RUN, STAND_IN, Result
from bench.forgetting.scenarios import SCENARIOS
from expunge.evaluation.figures import FORGOTTEN, MEMBERSHIP, RETAINED
from expunge.evaluation.gate import JudgedModel, judge
from expunge.evaluation.spread import recorded, spread_of
from expunge.project.files import rounded, write_json
from expunge.settings import load_params

SPREAD = Path("expunge/evaluation/spread.json")
ERRORS = Path("bench/results/gate.json")
FITTED_DIGITS = 4
Blocks = Mapping[str, Any]
Subjects = dict[int, JudgedModel]


def golds(names: Sequence[str]) -> dict[str, Subjects]:
    """Scenario → seed → its gold standard."""
    return {name: recorded_models(name, GOLD) for name in names}


def forgotten(sets: Mapping[str, Mapping[int, Blocks]], captions: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """The spread of what is forgotten, over sets that were retrained more than once.

    Args:
        sets: set → seed → block `M`.
        captions: set → the effective number of captions that it hangs on.
    """
    values: dict[str, list[list[float]]] = defaultdict(list)
    for seeds in sets.values():
        for figure in FORGOTTEN:
            values[figure.name].append([figure.read(block["forget"]) for block in seeds.values()])
        values[MEMBERSHIP.name].append([block["mia_auc"] for block in seeds.values()])
    by_caption = {figure.name for figure in (*FORGOTTEN, MEMBERSHIP) if figure.by_caption}
    return {
        name: _fitted(groups, list(captions.values())) if name in by_caption else _pooled(groups)
        for name, groups in values.items()
    }


def retained(names: Sequence[str]) -> dict[str, dict[str, float]]:
    """The spread of what stays."""
    gaps: dict[str, list[float]] = defaultdict(list)
    for name in names:
        originals = recorded_models(name, ORIGINAL)
        for seed, gold in recorded_models(name, GOLD).items():
            for figure in RETAINED:
                pair = (gold.metrics[figure.group], originals[seed].metrics[figure.group])
                gaps[figure.name].append(figure.read(pair[0]) - figure.read(pair[1]))
    return {
        name: {"deviation": math.sqrt(fmean(gap**2 for gap in found) / 2), "degrees": len(found)}
        for name, found in gaps.items()
    }


def spread(names: Sequence[str]) -> dict[str, Any]:
    """The content of spread.json, from the scenarios `names`."""
    return {
        "origin": f"gold standards of {RESULTS} by scenario and seed; see bench/forgetting/spread.py",
        **_content(names, golds(names)),
    }


def _content(names: Sequence[str], sets: Mapping[str, Subjects]) -> dict[str, Any]:
    blocks = {name: {seed: one.metrics for seed, one in seeds.items()} for name, seeds in sets.items()}
    captions = {name: next(iter(seeds.values())).captions[""] for name, seeds in sets.items()}
    return {"figures": rounded(forgotten(blocks, captions) | retained(names))}


def _pooled(groups: list[list[float]]) -> dict[str, float]:
    several = [group for group in groups if len(group) > 1]
    degrees = sum(len(group) - 1 for group in several)
    squares = sum((value - fmean(group)) ** 2 for group in several for value in group)
    return {"deviation": math.sqrt(squares / degrees), "degrees": degrees}


def _fitted(groups: list[list[float]], captions: Sequence[float]) -> dict[str, float]:
    """Standard deviation for a set that hangs on one caption, and the floor: most likely if all values are normal."""
    several = [(group, count) for group, count in zip(groups, captions, strict=True) if len(group) > 1]
    degrees = np.array([len(group) - 1 for group, _ in several])
    squares = np.array([sum((value - fmean(group)) ** 2 for value in group) for group, _ in several])
    shares = 1 / np.array([count for _, count in several])

    def unlikelihood(logarithms: np.ndarray) -> float:
        variances = np.exp(logarithms[0]) * shares + np.exp(logarithms[1])
        return float((degrees * np.log(variances) + squares / variances).sum())

    if len(set(shares)) == 1:  # nothing tells the two parts apart
        return {"deviation": math.sqrt(squares.sum() / shares[0] / degrees.sum()), "degrees": int(degrees.sum())}
    start = np.log([(squares / shares).sum() / degrees.sum(), (squares / degrees).min() / 10])
    variance, floor = np.exp(minimize(unlikelihood, start, method="Nelder-Mead", options={"xatol": 1e-9}).x)
    floor = floor if floor > variance * 1e-6 else 0.0
    # The search ends a little elsewhere on another machine.
    deviations = {"deviation": math.sqrt(variance), "floor": math.sqrt(floor)}
    return rounded(deviations, FITTED_DIGITS) | {"degrees": int(degrees.sum())}


def recorded_models(scenario: str, method: str, folder: Path = RESULTS) -> Subjects:
    """Seed → a recorded model, as the judge is told of it."""
    found = [run for run in _runs(scenario, folder=folder) if run.method == method]
    return {run.seed: _subject(run.content) for run in found if _is_whole(run.content)}


def stand_ins_of(scenario: str, seed: int, folder: Path = RESULTS) -> list[JudgedModel]:
    """The stand-ins that were recorded for a set, in their order; none where it hangs on enough captions.

    Where they were made for another seed only, those: what they say is what retrainings make of the set.
    """
    found = _runs(scenario, STAND_IN, folder)
    seeds = {one.seed for one in found}
    chosen = seed if seed in seeds else min(seeds, default=seed)
    return [_subject(one.content) for one in found if one.seed == chosen]


def _is_whole(content: Mapping[str, Any]) -> bool:
    """Whether the deviation over pairs was recorded: the first runs of the earlier recipe lack it."""
    return "pair_similarity_sd" in content["metrics"]["forget"]


def _subject(content: Mapping[str, Any]) -> JudgedModel:
    similarities = {"": np.array(content["similarities"])} if "similarities" in content else {}
    captions = {"": content["effective_captions"]}
    return JudgedModel(content["metrics"], {}, similarities, content.get("traces", {}), captions)


def _runs(scenario: str, kind: str = RUN, folder: Path = RESULTS) -> list[Result]:
    return [result for result in results.read(scenario, folder) if result.kind == kind]


def scenarios() -> list[str]:
    """Names of the scenarios that were retrained."""
    return [name for name in SCENARIOS if _runs(name)]


def retrainings_refused(names: Sequence[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Each recorded retraining judged by one of another seed, with the spread of the *other* sets.

    On what stays each retraining has its own pairs (the parent of its seed chose them), so it is
    judged on what it gained or lost against its original.
    """
    params, sets = load_params().gate, golds(names)
    for name, seeds in sets.items():
        others = [other for other in names if other != name]
        content = _content(others, {other: sets[other] for other in sets if other != name})
        known = spread_of(content["figures"])
        originals = recorded_models(name, ORIGINAL)
        for own, candidate in seeds.items():
            for other, reference in seeds.items():
                if own != other:
                    pair = (originals[own].metrics, originals[other].metrics)
                    metrics = _moved(candidate.metrics, reference.metrics, *pair)
                    subject, further = replace(candidate, metrics=metrics), stand_ins_of(name, other)
                    found = judge(params, subject, [reference], spread=known, stand_ins=further)["gate"]
                    yield name, found["passed"], _failed(found)


def methods_passed(names: Sequence[str]) -> Iterator[tuple[str, bool, list[str]]]:
    """Each recorded run of a method, each impostor and the original, judged by the gold standard of its seed."""
    for name in names:
        for result, found in [*_judged(name), *_judged(name, IMPOSTOR)]:
            yield result.method, found["gate"]["passed"], _failed(found["gate"])


def judged_runs(names: Sequence[str], folder: Path = RESULTS) -> Iterator[tuple[str, list[dict[str, Any]]]]:
    """Method and the gate's checks of each recorded run, the original's left out."""
    for name in names:
        for result, found in _judged(name, folder=folder):
            if result.method != ORIGINAL:
                yield result.method, found["gate"]["checks"]


def judged_anew(names: Sequence[str]) -> list[Result]:
    """The recorded runs with the diagnosis of the present gate, which may not be that of the day they were recorded."""
    runs = []
    for name in names:
        found = {result.key: verdict["diagnosis"] for result, verdict in _judged(name)}
        for run in _runs(name):
            verdict = {"diagnosis": found[run.key]} if run.key in found and run.method != ORIGINAL else {}
            runs.append(replace(run, content=run.content | verdict))
    return runs


def _judged(name: str, kind: str = RUN, folder: Path = RESULTS) -> Iterator[tuple[Result, dict[str, Any]]]:
    params, known = load_params().gate, recorded()
    seeds = recorded_models(name, GOLD, folder)
    for result in _runs(name, kind, folder):
        if result.method != GOLD and result.seed in seeds and _is_whole(result.content):
            subject, others = _subject(result.content), stand_ins_of(name, result.seed, folder)
            yield result, judge(params, subject, [seeds[result.seed]], spread=known, stand_ins=others)


def _failed(gate: Mapping[str, Any]) -> list[str]:
    return [check["name"] for check in gate["checks"] if not check["passed"]]


def _moved(candidate: Blocks, reference: Blocks, own: Blocks, other: Blocks) -> dict[str, Any]:
    """`candidate` as it would read on the retained pairs of `reference`.

    What the one gained over its original less what the other gained is a difference of four trainings; that of two,
    which the judge is to see, is smaller by the square root of two.
    """

    def moved(group: str, name: str) -> float:
        gains = candidate[group][name] - own[group][name] - reference[group][name] + other[group][name]
        return reference[group][name] + gains / math.sqrt(2)

    names = ("image_to_text_r1", "text_to_image_r1", "pair_similarity")
    groups = ("neighbours", "retain", "test")
    return {**candidate} | {group: {name: moved(group, name) for name in names} for group in groups}


def main() -> None:
    """Write both files."""
    names = scenarios()
    write_json(SPREAD, spread(names))
    recorded.cache_clear()
    several = [name for name in names if len(recorded_models(name, GOLD)) > 1]
    tried = list(retrainings_refused(several))
    refused = [{"set": name, "by": failed} for name, passed, failed in tried if not passed]
    judged: dict[str, list[bool]] = defaultdict(list)
    for method, passed, _ in methods_passed(names):
        judged[method].append(passed)
    marks = {result.method for name in names for result in _runs(name, IMPOSTOR)} | {ORIGINAL}
    counts = {method: f"{sum(each)} of {len(each)}" for method, each in sorted(judged.items())}
    write_json(
        ERRORS,
        {
            "spreads": load_params().gate.spreads,
            "retrainings": {"judged": len(tried), "refused": refused},
            "impostors_passed": {name: count for name, count in counts.items() if name in marks},
            "methods_passed": {name: count for name, count in counts.items() if name not in marks},
        },
    )
    print(f"retrainings refused: {len(refused)} of {len(tried)}; passed: {counts}")


if __name__ == "__main__":
    main()
