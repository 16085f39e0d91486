"""Small corpora and a small model, on which a training takes seconds: for questions that need dozens of them.

*small* has 240 pictures, *medium* 960, of which every validation scenario but one has some. What is found on them holds
for them: every page that shows such figures says so.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from bench.forgetting.models import Workplace
from expunge.project.paths import Paths
from expunge.settings import Params
from expunge.unlearning import registry

WORK, MEDIUM_WORK = Path(".expunge/bench-small"), Path(".expunge/bench-medium")
BLOCKS: dict[str, dict[str, Any]] = {
    "compute": {"device": "cpu", "threads": 1, "precision": "fp32"},
    "catalog": {
        "limit": 240,
        "image_size": 32,
        "rows_per_shard": 512,
        "holdout": {"calibration": 0.2, "test_concepts": 0.08, "test_variants": 0.05},
    },
    "model": {
        "embed_dim": 32,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "head_width": 32},
        "text_cfg": {"context_length": 12, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
    },
    "train": {
        "epochs": 64,
        "batch_size": 40,
        "learning_rate": 0.004,
        "templates": ["{caption}", "{caption}", "{caption}", "a picture of {caption}"],
        "small_pictures": None,
        "text_finish": None,
    },
    "select": {"neighbours": 30, "random": 60},
}
"""What differs from params.yaml; methods are cut down by `METHODS`."""
MEDIUM: dict[str, dict[str, Any]] = {"catalog": {"limit": 960}, "train": {"epochs": 48}}
"""What differs from `BLOCKS` on the medium corpus, whose methods are cut down by `SHARE`."""
SHARE = 4
"""The medium corpus is about a quarter of the whole, and so are all batches on it."""
BATCHES = ("batch", "batch_size", "forget_batch", "retain_batch", "remaining_batch")
METHODS: dict[str, dict[str, Any]] = {
    "retrain_text": {"batch_size": 80, "steps": 120, "learning_rate": 0.004},
    "cliperase_calibrated": {"retain_batch": 32, "remaining_batch": 16},
    "cliperase": {"retain_batch": 32, "steps": 40},
}


def small_params(seed: int) -> Params:
    """params.yaml, cut down to the small corpus, with `seed`."""
    content = _cut_down()
    for name, block in METHODS.items():
        content["unlearn"]["methods"][name] |= block
    return Params.model_validate(content | {"seed": seed})


def medium_params(seed: int) -> Params:
    """params.yaml, cut down to the medium corpus, with `seed`."""
    content = _cut_down()
    for name, block in MEDIUM.items():
        content[name] |= block
    methods = content["unlearn"]["methods"]
    for name in registry.METHODS:
        fields = registry.parameters_class(name).model_fields
        defaults = {key: fields[key].default for key in BATCHES if key in fields}
        methods[name] = _with_smaller_batches(defaults | methods.get(name, {}))
    return Params.model_validate(content | {"seed": seed})


def small_workplace(seed: int) -> Workplace:
    """The workplace of one seed on the small corpus."""
    return Workplace(small_params(seed), WORK)


def medium_workplace(seed: int) -> Workplace:
    """The workplace of one seed on the medium corpus."""
    return Workplace(medium_params(seed), MEDIUM_WORK)


def _cut_down() -> dict[str, Any]:
    content: dict[str, Any] = yaml.safe_load(Paths().params.read_text(encoding="utf-8"))
    for name, block in BLOCKS.items():
        content[name] |= block
    return content


def _with_smaller_batches(values: dict[str, Any]) -> dict[str, Any]:
    return {
        key: _with_smaller_batches(value)
        if isinstance(value, dict)
        else max(2, value // SHARE)
        if key in BATCHES and value
        else value
        for key, value in values.items()
    }
