"""The text of a new project's params.yaml: the repository's own, in which blocks are replaced.

The repository is the demo, and its params.yaml names a small network and a recipe that were made for drawings of
emojis. `general.yaml` holds what takes their place for anybody's data and model.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from importlib.resources import files
from typing import Any

import numpy as np
import yaml

from expunge.commands.own_data import DEMO
from expunge.corpus.settings import CatalogParams

BLOCK = r"(?ms)^{}:.*?(?=^\S|\Z)"
GENERAL_MODEL = "ViT-B-32"
"""What `general.yaml` names where nobody has named a model."""
RECIPE = ("loading", "train")
"""The blocks of `general.yaml` that any named model is trained by, on the demo's corpus too."""
WORDING = ("variant_share", "canonical_caption", "languages", "templates")
"""Settings of `train` that depend on the corpus, not on the model."""


def own_settings(text: str, catalog: CatalogParams, changes: dict[str, Any]) -> str:
    """params.yaml of the library's repository → that of a project: its own source, and no ledger to start from.

    Only blocks that change lose their comments. `model` is replaced as a whole, since one described there and a named
    one exclude each other.

    Args:
        changes: what a profile and the options say, block by block.
    """
    named = catalog.source == DEMO and "model" in changes
    if named:
        demo = yaml.safe_load(text)["train"]
        changes = merged({"train": {key: demo[key] for key in WORDING}}, changes)
    following = None
    for block, general in reversed(list(_general())):
        if catalog.source != DEMO or (named and block in RECIPE):
            text = _replaced(text, block, general, following)
        following = block
    if catalog.source != DEMO or named:
        text = re.sub(r"(?m)^  image_size: \d+", f"  image_size: {catalog.image_size}", text, count=1)
    text = _named(text, catalog)
    content = yaml.safe_load(text)
    for block, values in changes.items():
        if isinstance(values, dict) and block != "model":
            values = merged(content.get(block) or {}, values)
        text = _replaced(text, block, yaml.safe_dump({block: values}, sort_keys=False, allow_unicode=True) + "\n")
    return _at_the_rate_of_training(text)


def _at_the_rate_of_training(text: str) -> str:
    """With the training's learning rate for `retrain_text` too, which repeats it for one tower: the demo's rate
    would ruin a tower that begins from published weights."""
    rate = float(yaml.safe_load(text)["train"]["learning_rate"])
    said = np.format_float_positional(rate, trim="-")
    place = r"(?m)(^ +retrain_text:\n(?:^ {6,}.*\n)*?^ {6,}learning_rate: )\S+"
    return re.sub(place, rf"\g<1>{said}", text, count=1)


def merged(base: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """`base` with the values of `changes`, mapping by mapping."""
    return base | {
        key: merged(base[key], value) if isinstance(value, dict) and isinstance(base.get(key), dict) else value
        for key, value in changes.items()
    }


def _general() -> Iterator[tuple[str, str]]:
    """The blocks of general.yaml by name, as text."""
    text = (files("expunge.commands") / "general.yaml").read_text(encoding="utf-8")
    for found in re.finditer(BLOCK.format(r"(\w+)"), text):
        yield found[1], found[0].rstrip("\n") + "\n\n"


def _replaced(text: str, block: str, new: str, following: str | None = None) -> str:
    """`text` with another block of this name; where it has none, one before `following` or at its end."""
    if found := re.search(BLOCK.format(block), text):
        return text[: found.start()] + new + text[found.end() :]
    place = re.search(BLOCK.format(following), text) if following else None
    start = place.start() if place else len(text)
    return text[:start] + new + text[start:]


def _named(text: str, catalog: CatalogParams) -> str:
    """With the source and its data, and without the demo's ledger."""
    said = catalog.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    lines = [
        f"  {key}: {json.dumps(said[key], ensure_ascii=False)}" for key in ("data", "captions", "map") if key in said
    ]
    text = re.sub(r"(?m)^  source: \S+", lambda _: "\n".join([f"  source: {catalog.source}", *lines]), text, count=1)
    return re.sub(
        r"(?m)^  seed: .*$", "  seed: null            # a file of events that an empty ledger starts from", text
    )
