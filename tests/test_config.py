"""params.yaml: every mistake is named with its key and what is allowed there."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from expunge.project.errors import ExpungeError
from expunge.settings import load_params
from expunge.unlearning import registry
from project import ROOT, tiny_params


def written(folder: Path, params: Any) -> Path:
    path = folder / "params.yaml"
    path.write_text(params if isinstance(params, str) else yaml.safe_dump(params), encoding="utf-8")
    return path


def test_the_shipped_settings_are_valid_and_frozen() -> None:
    params = load_params(ROOT / "params.yaml")
    with pytest.raises(ValueError, match="frozen"):
        params.seed = 1


@pytest.mark.parametrize(
    ("block", "values", "message"),
    [
        ("train", {"epoch": 3}, "train.epoch: extra inputs are not permitted"),
        ("train", {"learning_rate": -1}, "train.learning_rate: input should be greater than 0"),
        ("train", {"templates": ["no slot"]}, "train.templates: each template must contain {caption}"),
        ("catalog", {"source": "openmojo"}, "catalog.source: unknown source; known are"),
        ("compute", {"device": "tpu"}, "compute.device: input should be 'auto', 'cpu' or 'cuda'"),
        (
            "gate",
            {"spreads": 0},
            "gate.spreads: input should be greater than 0",
        ),
        ("release", {"methods": ["clip_erase"]}, "release.methods: unknown method 'clip_erase'; known are"),
        ("unlearn", {"methods": {"clip_erase": {}}}, "unlearn.methods: unknown method 'clip_erase'"),
        ("model", {"name": "ViT-B-32"}, "give either `name`"),
        ("loading", {"workers": 2}, "by train.aug_cfg, and there is none"),
    ],
)
def test_each_mistake_names_its_key(tmp_path: Path, block: str, values: dict, message: str) -> None:
    with pytest.raises(ExpungeError) as caught:
        load_params(written(tmp_path, tiny_params(**{block: values})))
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("train: [", "not valid YAML at line"),
        ("- a\n- b\n", "must be a mapping"),
        ("seed: 0\n", "model: field required"),
        ("", "must be a mapping"),
    ],
)
def test_a_file_that_is_no_settings_file_gets_one_sentence(tmp_path: Path, text: str, message: str) -> None:
    with pytest.raises(ExpungeError, match=message):
        load_params(written(tmp_path, text))


def test_a_missing_file_says_where_to_stand(tmp_path: Path) -> None:
    with pytest.raises(ExpungeError, match="run this command in the project's folder"):
        load_params(tmp_path / "params.yaml")


def test_the_shipped_hyper_parameters_are_valid() -> None:
    for name, values in load_params(ROOT / "params.yaml").unlearn.methods.items():
        registry.parameters(name, values)


def test_a_misspelt_hyper_parameter_is_refused_when_its_method_is_chosen() -> None:
    with pytest.raises(ValueError, match="stepz"):
        registry.parameters("cliperase", {"steps": 1, "learning_rate": 0.1, "stepz": 3})
