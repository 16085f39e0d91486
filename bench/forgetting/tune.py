"""The same search for every method: Optuna, the same number of trials, on validation scenarios only.

A table ranks methods fairly only where each was given the same chance. For each method and each choice of weights (all
of them; the text tower alone, where the method can be told) a study draws hyper-parameters around those of params.yaml
by the same rule, forgets the validation scenarios, and is scored by the average gap to the gold standard, in percentage
points. `python -m bench.forgetting.tune --medium` searches on the medium corpus of `bench.forgetting.small`. Trials are
kept under `.expunge/`, so a search that was stopped goes on; what was best is recorded in bench/results/tuning/.
params.yaml is left as it is: what becomes of the result is for a person to decide.
"""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from statistics import fmean
from typing import Any

import optuna
from optuna.storages import JournalStorage
from optuna.storages.journal import JournalFileBackend

from bench.forgetting import results
from bench.forgetting.distance import distance
from bench.forgetting.models import Workplace, workplace
from bench.forgetting.run import NOT_COMPARED, Bench
from bench.forgetting.scenarios import SCENARIOS, VALIDATION
from bench.forgetting.small import medium_workplace
from expunge.project.errors import ExpungeError
from expunge.unlearning import registry

FOLDER = Path("bench/results/tuning")
TUNING = "tuning"
WHOLE, MEDIUM = "whole", "medium"
TRIALS = 6
FACTOR = 10.0
"""Rates and weights are drawn, evenly in their logarithm, from a tenth of what params.yaml says to ten times it."""
SHARES = (0.05, 0.95)
DIVERGED = 100.0
"""The score of a trial that ends without a model: the greatest gap there can be."""
TOWERS, OWN = ("all", "text"), "its own"
SEARCHED = [name for name in registry.METHODS if name not in NOT_COMPARED]


def suggest(trial: optuna.Trial, values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Hyper-parameters drawn around `values`, by one rule for all methods.

    Positive fractional numbers: shares (names that end in `share`) evenly within `SHARES`, all others by `FACTOR`.
    `steps`: half, as many or twice. Everything else stays. A draw may lie outside of what a method takes.
    """
    drawn: dict[str, Any] = {}
    for key, value in values.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping) and key != "weights":
            drawn[key] = suggest(trial, value, f"{name}.")
        elif key == "steps":
            drawn[key] = max(1, round(value * trial.suggest_categorical(name, [0.5, 1.0, 2.0])))
        elif isinstance(value, float) and value > 0:
            share = key.endswith("share")
            low, high = SHARES if share else (value / FACTOR, value * FACTOR)
            drawn[key] = trial.suggest_float(name, low, high, log=not share)
        else:
            drawn[key] = value
    return drawn


def shipped(values: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """The draw that gives `values` themselves, shares at 0 or 1 aside: the first trial of every study."""
    drawn: dict[str, Any] = {}
    for key, value in values.items():
        if isinstance(value, Mapping) and key != "weights":
            drawn |= shipped(value, f"{prefix}{key}.")
        elif key == "steps":
            drawn[f"{prefix}{key}"] = 1.0
        elif isinstance(value, float) and value > 0:
            drawn[f"{prefix}{key}"] = min(max(value, SHARES[0]), SHARES[1]) if key.endswith("share") else value
    return drawn


def towers(method: str) -> tuple[str, ...]:
    """The choices of weights that the method is searched with."""
    weights = registry.parameters_class(method).model_fields.get("weights")
    return TOWERS if weights is not None and weights.default.choice in TOWERS else (OWN,)


def with_values(place: Workplace, method: str, values: Mapping[str, Any]) -> Workplace:
    """The same workplace with other hyper-parameters of one method."""
    blocks = place.params.unlearn.methods | {method: dict(values)}
    unlearn = place.params.unlearn.model_copy(update={"methods": blocks})
    return replace(place, params=place.params.model_copy(update={"unlearn": unlearn}))


def score(place: Workplace, scenarios: Sequence[str], method: str, values: Mapping[str, Any]) -> float:
    """Mean average gap over the scenarios, in percentage points."""
    chosen = with_values(place, method, values)
    gaps = []
    for name in scenarios:
        bench = Bench(chosen, SCENARIOS[name])
        try:
            found = bench.measure(bench.forget(method).clip).metrics
        except ExpungeError:  # it diverged, or a hyper-parameter lies outside of what the method takes
            return DIVERGED
        gaps.append(distance(found, bench.retrained[0].metrics)["average_gap"])
    return fmean(gaps)


def objective(place: Workplace, scenarios: Sequence[str], method: str, tower: str, trial: optuna.Trial) -> float:
    """The score of one draw, which is kept with the trial."""
    values = suggest(trial, place.params.unlearn.methods.get(method, {}))
    if tower != OWN:
        values["weights"] = values.get("weights", {}) | {"choice": tower}
    trial.set_user_attr("values", values)
    return score(place, scenarios, method, values)


def search(
    place: Workplace, corpus: str, scenarios: Sequence[str], method: str, tower: str, trials: int, folder: Path = FOLDER
) -> optuna.Study:
    """Bring the study of one method and tower to `trials` trials, and record the best of them for `corpus`.

    Raises:
        ExpungeError: a scenario is one that is reported; nothing may be chosen on those.
    """
    allowed = {scenario.name for scenario in VALIDATION}
    if foreign := set(scenarios) - allowed:
        raise ExpungeError(f"{min(foreign)} is reported; search on some of {', '.join(sorted(allowed))}.")
    place.work.mkdir(parents=True, exist_ok=True)
    study = optuna.create_study(
        study_name=f"{method}, {tower}, {' '.join(scenarios)}, seed {place.params.seed}",
        storage=JournalStorage(JournalFileBackend(str(place.work / "tuning.journal"))),
        sampler=optuna.samplers.TPESampler(seed=place.params.seed),
        load_if_exists=True,
    )
    if not study.trials:
        study.enqueue_trial(shipped(place.params.unlearn.methods.get(method, {})))
    missing = trials - sum(trial.state.is_finished() for trial in study.trials)
    if missing > 0:
        study.optimize(partial(objective, place, scenarios, method, tower), n_trials=missing)
    content = {
        "tower": tower,
        "scenarios": list(scenarios),
        "trials": trials,
        "as_shipped": study.trials[0].value,
        "best": study.best_value,
        "values": study.best_trial.user_attrs["values"],
    }
    result = results.measured(corpus, TUNING, f"{method}, {tower}", place.params.seed, content)
    results.record(result, folder)
    return study


def main() -> None:
    """Search for every method that is asked for."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--methods", nargs="+", choices=SEARCHED, default=SEARCHED)
    parser.add_argument("--scenarios", nargs="+", default=["valid_mammals", "valid_random"])
    parser.add_argument("--trials", type=int, default=TRIALS)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--medium", action="store_true", help="on the medium corpus")
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder to write to")
    options = parser.parse_args()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    corpus, place = (MEDIUM, medium_workplace(options.seed)) if options.medium else (WHOLE, workplace(options.seed))
    for method in options.methods:
        for tower in towers(method):
            study = search(place, corpus, options.scenarios, method, tower, options.trials, options.results)
            print(f"{method}, {tower}: {study.trials[0].value:.1f} → {study.best_value:.1f}", flush=True)


if __name__ == "__main__":
    main()
