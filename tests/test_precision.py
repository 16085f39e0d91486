"""Which precision a model is trained in where the settings leave it to the machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from expunge.models import clip, precision
from expunge.models.clip import autocast
from expunge.models.precision import seconds_of_a_step, settled
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, write_json
from expunge.project.paths import Paths
from expunge.settings import Params
from project import tiny_params

AUTO = Params.model_validate(tiny_params(compute={"device": "cpu", "precision": "auto"}))


def test_a_step_of_the_very_model_is_measured_once_and_the_choice_is_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(tmp_path)
    chosen = settled(paths, AUTO)
    [found] = read_json(paths.precision).values()
    assert chosen.compute.precision == found["precision"] == min(found["seconds"], key=found["seconds"].get)
    assert all(seconds > 0 for seconds in found["seconds"].values())
    assert settled(paths, chosen) is chosen

    monkeypatch.setattr(precision, "seconds_of_a_step", lambda *_: pytest.fail("measured again"))
    [key] = read_json(paths.precision)
    for other in ("bf16", "fp32"):
        write_json(paths.precision, {key: found | {"precision": other}})
        assert settled(paths, AUTO).compute.precision == other


def test_the_faster_one_is_taken_and_another_model_is_measured_anew(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seconds = {"bf16": 2.0, "fp32": 1.0}
    monkeypatch.setattr(precision, "seconds_of_a_step", lambda *_: seconds)
    assert settled(Paths(tmp_path), AUTO).compute.precision == "fp32"
    seconds |= {"bf16": 0.5}
    assert settled(Paths(tmp_path), AUTO).compute.precision == "fp32"
    wider = AUTO.model_copy(update={"model": AUTO.model.model_copy(update={"embed_dim": 48})})
    assert settled(Paths(tmp_path), wider).compute.precision == "bf16"


def test_a_precision_that_nobody_settled_is_refused_before_a_step() -> None:
    network = clip.create(AUTO.model, seed=0)
    with pytest.raises(ExpungeError, match=r"compute\.precision is `auto`"), autocast(network.device, AUTO.compute):
        pass
    assert set(seconds_of_a_step(network, AUTO.compute)) == {"bf16", "fp32"}
