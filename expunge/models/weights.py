"""Weights as other tools leave them, read without running anything: safetensors, open_clip's trainer, `.bin` files.

A `.pt` file is a pickle, so only tensors and plain containers are let through (`weights_only`), and what needs more is
refused: TorchScript archives, whole modules, objects of other packages.
"""

from __future__ import annotations

import json
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor

from expunge.models.network import open_clip
from expunge.project.errors import ExpungeError, one_line
from expunge.project.reading import MAX_BYTES, read_plain, strict_json

if TYPE_CHECKING:
    from expunge.models.network import Network

PREFIXES = ("module.", "_orig_mod.")
"""What torch's data parallelism and compiler put before every name."""
IN_FOLDERS = (
    "open_clip_model.safetensors",
    "model.safetensors",
    "open_clip_pytorch_model.bin",
    "pytorch_model.bin",
)
"""Files of weights in a folder, the safest first."""
INDEX = "model.safetensors.index.json"


def read_weights(path: Path) -> dict[str, Tensor]:
    """Name → tensor of a file of weights, or of a folder that holds one, on the CPU.

    Raises:
        ExpungeError: there are no weights, they are damaged, or reading them would mean to run what is in them.
    """
    path = Path(path)
    if path.is_dir():
        return _read_folder(path)
    if not path.is_file():
        raise ExpungeError(f"{path}: no such file or folder with weights.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise ExpungeError(f"{path} is truncated or damaged ({one_line(error)}).") from None
    return _plain_names(_unpickled(path), path)


def fit(model: Network, state: Mapping[str, Tensor], source: Path) -> None:
    """Put weights read from `source` into a model, layouts of open_clip's own included that differ in names only.

    Raises:
        ExpungeError: they belong to another architecture; the message names what differs first.
    """
    state = open_clip.convert.convert_state_dict(model, dict(state))
    if "positional_embedding" in state and not hasattr(model, "positional_embedding"):
        state = open_clip.model.convert_to_custom_text_state_dict(state)
    wanted = model.state_dict()
    state = {name: value for name, value in state.items() if name in wanted or not name.endswith("position_ids")}
    for name in ("logit_scale", "logit_bias"):
        if name in state and name in wanted and state[name].numel() == wanted[name].numel():
            state[name] = state[name].reshape(wanted[name].shape)
    for what, names in (("lacks", wanted.keys() - state.keys()), ("has", state.keys() - wanted.keys())):
        if names:
            raise ExpungeError(
                f"{source} belongs to another architecture than model.name says: it {what} {min(names)}"
                f"{f' and {len(names) - 1} more' if len(names) > 1 else ''}."
            )
    for name, tensor in wanted.items():
        if state[name].shape != tensor.shape:
            raise ExpungeError(
                f"{source} belongs to another architecture than model.name says: {name} is "
                f"{list(state[name].shape)} and not {list(tensor.shape)}."
            )
    model.load_state_dict({name: state[name].to(tensor.dtype) for name, tensor in wanted.items()})


def _read_folder(folder: Path) -> dict[str, Tensor]:
    if (folder / INDEX).is_file():
        try:
            parts = strict_json(read_plain(folder / INDEX, MAX_BYTES).decode())["weight_map"].values()
            names = sorted({Path(str(part)).name for part in parts})
        except (ValueError, KeyError, AttributeError, TypeError) as error:
            raise ExpungeError(f"{folder / INDEX} is damaged ({one_line(error)}).") from None
        return {name: tensor for part in names for name, tensor in read_weights(folder / part).items()}
    for name in IN_FOLDERS:
        if (folder / name).is_file():
            return read_weights(folder / name)
    raise ExpungeError(f"{folder} holds no weights; looked for {', '.join(IN_FOLDERS)}.")


def _unpickled(path: Path) -> Any:
    try:
        return torch.load(path, map_location="cpu", weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError, AttributeError, TypeError) as error:
        raise ExpungeError(
            f"{path} holds more than tensors, or is damaged, and nothing in it is run. Save the model's state_dict as "
            f"safetensors with the tool that wrote it ({one_line(error, 80)})."
        ) from None


def _plain_names(found: Any, path: Path) -> dict[str, Tensor]:
    """The tensors of a trainer's checkpoint: under `state_dict`, or the whole file, without wrappers' prefixes."""
    state = found.get("state_dict", found) if isinstance(found, dict) else None
    if not isinstance(state, dict) or not state or not all(isinstance(value, Tensor) for value in state.values()):
        raise ExpungeError(f"{path} is not a checkpoint: it holds no `state_dict` of tensors.")
    for prefix in PREFIXES * 2:
        if all(name.startswith(prefix) for name in state):
            state = {name.removeprefix(prefix): value for name, value in state.items()}
    return state


def read_settings(path: Path) -> dict[str, Any]:
    """The JSON object in a model's configuration file.

    Raises:
        ExpungeError: there is none, or it is damaged.
    """
    try:
        content = strict_json(read_plain(path, MAX_BYTES).decode())
    except FileNotFoundError:
        raise ExpungeError(f"{path} is missing.") from None
    except (ValueError, json.JSONDecodeError) as error:
        raise ExpungeError(f"{path} is not JSON ({one_line(error)}).") from None
    if not isinstance(content, dict):
        raise ExpungeError(f"{path} does not hold a JSON object.")
    return content
