"""What `expunge init` is told of the model: an architecture, weights, a device, a profile, as parts of params.yaml."""

from __future__ import annotations

from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml

from expunge.commands.own_data import from_project
from expunge.models.sources import LOCAL
from expunge.project.errors import ExpungeError, suggest

DEVICES = ("auto", "cpu", "cuda")
HUB = "hf-hub:"

FINE_TUNING = {"epochs": 5, "learning_rate": 0.00001}
"""Training that begins from weights which have been trained: as open_clip's users fine-tune."""

USUAL_SIZE = 224
"""Pixels that most published models take; of a model on the hub no more is known before it is asked."""


def profiles() -> list[str]:
    """The names of the profiles."""
    return sorted(path.name.removesuffix(".yaml") for path in _folder().iterdir() if path.name.endswith(".yaml"))


def profile(name: str | None) -> dict[str, Any]:
    """The settings in which a profile differs from those of any new project; none without a name.

    Raises:
        ExpungeError: there is no such profile.
    """
    if name is None:
        return {}
    if name not in profiles():
        raise ExpungeError(f"--profile: unknown profile {name!r}; known are {', '.join(profiles())}.")
    return yaml.safe_load((_folder() / f"{name}.yaml").read_text(encoding="utf-8"))


def own_model(root: Path, name: str | None, pretrained: str | None, device: str | None) -> dict[str, Any]:
    """The settings that the options say.

    Raises:
        ExpungeError: the architecture, the file or the device is unknown.
    """
    found: dict[str, Any] = {}
    if pretrained is not None and name is None:
        raise ExpungeError("--pretrained needs --model, the architecture that the weights are of.")
    if name is not None:
        found["model"] = {"name": known_model(root, name)}
    if name is not None and pretrained is not None:
        found["model"]["pretrained"] = known_weights(root, name, pretrained)
    if pretrained is not None or (name is not None and brings_weights(name)):
        found["train"] = dict(FINE_TUNING)
    if device is not None:
        found["compute"] = {"device": known_device(device)}
    return found


def brings_weights(name: str) -> bool:
    """Whether a model's name leads to its weights as well."""
    return name.startswith((LOCAL, HUB)) or Path(name).is_dir()


def known_model(root: Path, name: str) -> str:
    """A model's name as params.yaml says it.

    Raises:
        ExpungeError: open_clip does not list it, and no folder has that name.
    """
    if name.startswith(HUB):
        return name
    if name.startswith(LOCAL) or Path(name).is_dir():
        return LOCAL + from_project(root, name.removeprefix(LOCAL), "model")
    from expunge.models.network import open_clip

    if name not in (known := open_clip.list_models()):
        raise ExpungeError(f"--model: open_clip lists no {name!r}{suggest(name, known)}; a folder does as well.")
    return name


def picture_size(root: Path, name: str) -> int:
    """Pixels of the pictures that a model takes, by its name in params.yaml.

    Raises:
        ExpungeError: the folder that it names holds no model.
    """
    if name.startswith(HUB):
        return USUAL_SIZE
    from expunge.models.description import architecture

    folder = root / name.removeprefix(LOCAL)
    size = architecture(f"{LOCAL}{folder}" if name.startswith(LOCAL) else name)["vision_cfg"].get(
        "image_size", USUAL_SIZE
    )
    return size if isinstance(size, int) else min(size)


def known_weights(root: Path, name: str, pretrained: str) -> str:
    """What training begins from, as params.yaml says it.

    Raises:
        ExpungeError: it is neither there nor one of open_clip's tags of the architecture.
    """
    from expunge.models.network import open_clip

    if Path(pretrained).exists():
        return from_project(root, pretrained, "pretrained")
    if open_clip.get_pretrained_cfg(name, pretrained):
        return pretrained
    tags = ", ".join(open_clip.list_pretrained_tags_by_model(name)) or "none"
    raise ExpungeError(f"--pretrained: there is no file {pretrained}, and no such tag of {name} (its tags: {tags}).")


def known_device(name: str) -> str:
    """A device.

    Raises:
        ExpungeError: it is none of `DEVICES`.
    """
    if name not in DEVICES:
        raise ExpungeError(f"--device: {name!r} is none of {', '.join(DEVICES)}.")
    return name


def _folder() -> Any:
    return files("expunge.commands") / "profiles"
