"""The search gives every method the same chance, on validation scenarios only, and goes on where it was stopped."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import optuna
import pytest

from bench.forgetting import results, tune
from bench.forgetting.models import Workplace
from expunge.project.errors import ExpungeError
from expunge.settings import Params
from expunge.unlearning import registry
from project import tiny_params

VALUES = {"learning_rate": 0.001, "retain_share": 0.9, "steps": 60, "batch": 8, "weights": {"choice": "all"}}


@pytest.fixture
def place(tmp_path: Path) -> Workplace:
    return Workplace(Params.model_validate(tiny_params()), tmp_path)


def test_the_first_draw_is_what_is_shipped_and_the_others_lie_around_it() -> None:
    first = tune.suggest(optuna.trial.FixedTrial(tune.shipped(VALUES)), VALUES)  # type: ignore[arg-type]
    assert first == VALUES
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [tune.suggest(study.ask(), VALUES) for _ in range(50)]
    assert {one["steps"] for one in drawn} == {30, 60, 120}
    assert all(0.0001 <= one["learning_rate"] <= 0.01 and 0.05 <= one["retain_share"] <= 0.95 for one in drawn)
    assert all(one["batch"] == 8 and one["weights"] == {"choice": "all"} for one in drawn)


def test_every_method_can_be_searched_from_what_is_shipped() -> None:
    blocks = tiny_params()["unlearn"]["methods"]
    for name in registry.METHODS:
        for tower in tune.towers(name):
            trial: Any = optuna.trial.FixedTrial(tune.shipped(blocks[name]))
            values = tune.suggest(trial, blocks[name])
            if tower in tune.TOWERS:
                values["weights"] = values.get("weights", {}) | {"choice": tower}
            registry.parameters(name, values)


def test_a_search_that_was_stopped_goes_on_and_records_the_best(
    place: Workplace, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[dict[str, Any]] = []

    def scored(place: Workplace, scenarios: list[str], method: str, values: dict[str, Any]) -> float:
        tried.append(values)
        return abs(values["learning_rate"] - 0.0002)

    monkeypatch.setattr(tune, "score", scored)
    for trials in (3, 3, 8):
        tune.search(place, "small", ["valid_class"], "finetune", "text", trials, tmp_path / "out")
    assert len(tried) == 8
    assert all(one["weights"]["choice"] == "text" for one in tried)
    [line] = results.read("small", tmp_path / "out")
    assert line.content["best"] == pytest.approx(min(abs(one["learning_rate"] - 0.0002) for one in tried), rel=1e-5)
    assert line.content["as_shipped"] >= line.content["best"]
    assert line.content["trials"] == 8


def test_nothing_is_chosen_on_a_scenario_that_is_reported(place: Workplace) -> None:
    with pytest.raises(ExpungeError, match="small_class is reported"):
        tune.search(place, "small", ["small_class"], "finetune", "all", 1)
