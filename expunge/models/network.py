"""open_clip's networks from their configuration: every architecture that it lists, with random weights.

The configuration is what `open_clip_config.json` holds under `model_cfg`. A text tower of transformers has a
`config.json` of its own, which lies in the model's folder; it is never asked for from a hub once a model is saved.
"""

from __future__ import annotations

import copy
import importlib
import logging
import sys
import tempfile
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from expunge.models import _torchvision
from expunge.models.files import TEXT_CONFIG
from expunge.project.errors import ExpungeError, one_line
from expunge.project.reading import strict_json

_torchvision.ensure()


@contextmanager
def _left_out(packages: Iterable[str]) -> Iterator[None]:
    """Inside the block these cannot be imported, as if they were not installed, unless they have been already."""
    absent = [package for package in packages if package not in sys.modules]
    sys.modules |= dict.fromkeys(absent)  # type: ignore[arg-type]  # None is what the import system takes for that
    try:
        yield
    finally:
        for package in absent:
            del sys.modules[package]


ADAPTERS = {"transformers": ("hf_model", "HFTextEncoder"), "timm": ("timm_model", "TimmModel")}
"""What a few architectures' towers come from, and the module and class by which open_clip adapts it. Importing the two
takes longer than importing torch, for timm brings torch's compiler. So open_clip is imported as if they were not
installed, which it provides for; `_taken_in` makes up for it where a model needs one."""

with _left_out(ADAPTERS):
    import open_clip

logging.getLogger("open_clip").setLevel(logging.ERROR)

if TYPE_CHECKING:

    class Network(nn.Module):
        """What open_clip's networks have in common, beyond a module; the log of the temperature's inverse included.

        `logit_bias` is None where the loss is a softmax.
        """

        logit_scale: nn.Parameter
        logit_bias: nn.Parameter | None

        def encode_image(self, image: Tensor, normalize: bool = ...) -> Tensor: ...

        def encode_text(self, text: Tensor, normalize: bool = ...) -> Tensor: ...
else:
    Network = nn.Module


def build(model_cfg: Mapping[str, Any], files: Mapping[str, bytes], seed: int = 0) -> Network:
    """A network with random weights drawn from `seed`.

    Args:
        model_cfg: as in `open_clip_config.json`.
        files: what lies beside it in the model's folder, by name.

    Raises:
        ExpungeError: open_clip cannot build it, or the text tower needs what is not there.
    """
    cfg = copy.deepcopy(dict(model_cfg))
    hugging_face = "hf_model_name" in cfg["text_cfg"]
    custom = cfg.pop("custom_text", False) or hugging_face
    kind = (
        open_clip.CoCa if custom and "multimodal_cfg" in cfg else open_clip.CustomTextCLIP if custom else open_clip.CLIP
    )
    if "timm_model_name" in cfg["vision_cfg"]:
        _taken_in("timm")
        cfg["vision_cfg"]["timm_model_pretrained"] = False
    torch.manual_seed(seed)
    try:
        if not hugging_face:
            return kind(**cfg)
        with unpacked({TEXT_CONFIG: _text_config(files)}) as folder:
            cfg["text_cfg"] |= {"hf_model_name": str(folder), "hf_model_pretrained": False}
            return kind(**cfg)
    except (RuntimeError, TypeError, ValueError, KeyError, AssertionError, AttributeError) as error:
        raise ExpungeError(f"open_clip cannot build this model ({one_line(error)}).") from error


@contextmanager
def unpacked(files: Mapping[str, bytes]) -> Iterator[Path]:
    """A folder with `files` in it, gone after the block: transformers reads from folders only."""
    with tempfile.TemporaryDirectory(prefix="expunge-model-") as name:
        for file, content in files.items():
            Path(name, file).write_bytes(content)
        yield Path(name)


def text_tower(model: nn.Module) -> Any:
    """The part of a model that has `token_embedding`, open_clip's own text tower; None where there is no such part."""
    tower = model if hasattr(model, "token_embedding") else getattr(model, "text", None)
    return tower if hasattr(tower, "token_embedding") else None


def _text_config(files: Mapping[str, bytes]) -> bytes:
    """The text tower's own configuration, checked to bring no code.

    Raises:
        ExpungeError: it is missing, is not JSON, or wants to run code that comes with it.
    """
    require_transformers()
    if TEXT_CONFIG not in files:
        raise ExpungeError(
            f"The text tower comes from transformers, and its {TEXT_CONFIG} is missing: set model.tokenizer to a "
            "folder that holds it beside the tokenizer's files."
        )
    try:
        content = strict_json(files[TEXT_CONFIG].decode())
    except ValueError as error:
        raise ExpungeError(f"{TEXT_CONFIG} of the text tower is not JSON ({one_line(error)}).") from None
    if not isinstance(content, dict) or "auto_map" in content:
        raise ExpungeError(f"{TEXT_CONFIG} of the text tower wants to run code that comes with it; that is not done.")
    return files[TEXT_CONFIG]


def require_transformers() -> None:
    """Have open_clip find transformers, where tokenizers and some text towers come from: half a second of importing
    that no other model takes.

    Raises:
        ExpungeError: it is not installed.
    """
    try:
        import transformers  # noqa: F401
    except ImportError:
        raise ExpungeError(
            "This model's tokenizer or text tower comes from the package transformers: pip install 'expunge[text]'."
        ) from None
    _taken_in("transformers")


def complete() -> None:
    """Have plain open_clip build every architecture that it lists, in a process that imports Expunge beside it.

    Raises:
        ExpungeError: transformers is not installed.
    """
    _taken_in("timm")
    require_transformers()


def _taken_in(package: str) -> None:
    module, name = ADAPTERS[package]
    adapter = getattr(open_clip, module)
    if getattr(adapter, package) is None:
        setattr(open_clip.model, name, getattr(importlib.reload(adapter), name))
