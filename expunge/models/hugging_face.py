"""A folder of transformers' `CLIPModel` (config.json, model.safetensors) as an open_clip model.

open_clip has no converter for this layout. The networks are the same but for names, for the three projections of an
attention layer, which open_clip stacks in one matrix, and for the last projections, which it keeps transposed.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from expunge.models.files import CONFIG, TEXT_CONFIG
from expunge.models.weights import read_settings
from expunge.project.errors import ExpungeError

PREPROCESSOR = "preprocessor_config.json"
VOCABULARY = 49408
"""Of CLIP's own tokenizer."""
BICUBIC, BILINEAR = 3, 2

_BLOCK = re.compile(r"(vision_model|text_model)\.encoder\.layers\.(\d+)\.(.+)")
_TOWERS = {"vision_model": "visual.transformer.resblocks", "text_model": "transformer.resblocks"}
_IN_BLOCK = {
    "self_attn.out_proj": "attn.out_proj",
    "layer_norm1": "ln_1",
    "layer_norm2": "ln_2",
    "mlp.fc1": "mlp.c_fc",
    "mlp.fc2": "mlp.c_proj",
}
_NAMES = {
    "vision_model.embeddings.class_embedding": "visual.class_embedding",
    "vision_model.embeddings.patch_embedding.weight": "visual.conv1.weight",
    "vision_model.embeddings.position_embedding.weight": "visual.positional_embedding",
    "vision_model.pre_layrnorm.weight": "visual.ln_pre.weight",
    "vision_model.pre_layrnorm.bias": "visual.ln_pre.bias",
    "vision_model.post_layernorm.weight": "visual.ln_post.weight",
    "vision_model.post_layernorm.bias": "visual.ln_post.bias",
    "text_model.embeddings.token_embedding.weight": "token_embedding.weight",
    "text_model.embeddings.position_embedding.weight": "positional_embedding",
    "text_model.final_layer_norm.weight": "ln_final.weight",
    "text_model.final_layer_norm.bias": "ln_final.bias",
    "logit_scale": "logit_scale",
}
_TRANSPOSED = {"visual_projection.weight": "visual.proj", "text_projection.weight": "text_projection"}


def is_hugging_face(folder: Path) -> bool:
    """Whether a folder holds a model of transformers rather than one of open_clip."""
    return (folder / TEXT_CONFIG).is_file() and not (folder / CONFIG).is_file()


def converted_config(folder: Path) -> dict[str, Any]:
    """`open_clip_config.json` for the model in `folder`.

    Raises:
        ExpungeError: it is not a CLIPModel, or one that open_clip has no network for.
    """
    config = read_settings(folder / TEXT_CONFIG)
    if config.get("model_type") != "clip":
        raise ExpungeError(
            f"{folder} holds a model of type {config.get('model_type')!r}; of transformers' models, CLIPModel is read."
        )
    vision, text = _part(config, "vision_config", folder), _part(config, "text_config", folder)
    activations = {part.get("hidden_act", "quick_gelu") for part in (vision, text)}
    if len(activations) != 1 or not activations <= {"quick_gelu", "gelu"}:
        raise ExpungeError(f"{folder}: open_clip has no network with the activations {', '.join(sorted(activations))}.")
    width, heads = vision.get("hidden_size", 768), vision.get("num_attention_heads", 12)
    vocabulary, end = text.get("vocab_size", VOCABULARY), text.get("eos_token_id", VOCABULARY - 1)
    text_cfg: dict[str, Any] = {
        "context_length": text.get("max_position_embeddings", 77),
        "vocab_size": vocabulary,
        "width": text.get("hidden_size", 512),
        "heads": text.get("num_attention_heads", 8),
        "layers": text.get("num_hidden_layers", 12),
        "mlp_ratio": text.get("intermediate_size", 2048) / text.get("hidden_size", 512),
        "norm_kwargs": {"eps": text.get("layer_norm_eps", 1e-5)},
    }
    if end not in (2, vocabulary - 1):  # transformers reads texts at their highest id where it says 2
        text_cfg |= {"pool_type": "eos", "eos_id": end}
    if vocabulary != VOCABULARY:
        text_cfg["hf_tokenizer_name"] = folder.name
    model_cfg = {
        "embed_dim": config.get("projection_dim", 512),
        "quick_gelu": activations == {"quick_gelu"},
        "vision_cfg": {
            "image_size": vision.get("image_size", 224),
            "patch_size": vision.get("patch_size", 32),
            "width": width,
            "layers": vision.get("num_hidden_layers", 12),
            "head_width": width // heads,
            "mlp_ratio": vision.get("intermediate_size", 3072) / width,
            "norm_kwargs": {"eps": vision.get("layer_norm_eps", 1e-5)},
        },
        "text_cfg": text_cfg,
    }
    return {"model_cfg": model_cfg, "preprocess_cfg": _preprocessing(folder)}


def converted_weights(state: Mapping[str, Tensor], source: Path) -> dict[str, Tensor]:
    """The weights of a CLIPModel under open_clip's names.

    Raises:
        ExpungeError: a weight has no counterpart.
    """
    found: dict[str, Tensor] = {}
    stacked: dict[str, dict[str, Tensor]] = {}
    for name, tensor in state.items():
        if name.endswith("position_ids"):
            continue
        if block := _BLOCK.fullmatch(name):
            tower, number, rest = block.groups()
            place, (layer, kind) = f"{_TOWERS[tower]}.{number}", rest.rsplit(".", 1)
            if layer in _IN_BLOCK:
                found[f"{place}.{_IN_BLOCK[layer]}.{kind}"] = tensor
                continue
            if layer in ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"):
                stacked.setdefault(f"{place}.attn.in_proj_{kind}", {})[layer[10]] = tensor
                continue
        elif name in _NAMES:
            found[_NAMES[name]] = tensor
            continue
        elif name in _TRANSPOSED:
            found[_TRANSPOSED[name]] = tensor.T.contiguous()
            continue
        raise ExpungeError(f"{source}: a CLIPModel has no weight {name}.")
    for name, parts in stacked.items():
        if set(parts) != set("qkv"):
            raise ExpungeError(f"{source} is incomplete: {name} lacks one of its three parts.")
        found[name] = torch.cat([parts[letter] for letter in "qkv"])
    return found


def _part(config: Mapping[str, Any], name: str, folder: Path) -> dict[str, Any]:
    part = config.get(name) or {}
    if not isinstance(part, dict):
        raise ExpungeError(f"{folder / TEXT_CONFIG}: {name} is not a mapping.")
    return part


def _preprocessing(folder: Path) -> dict[str, Any]:
    """What the folder says of preprocessing; what it leaves out is CLIP's."""
    path = folder / PREPROCESSOR
    said = read_settings(path) if path.is_file() else {}
    found = {"mean": said.get("image_mean"), "std": said.get("image_std")}
    found["interpolation"] = {BICUBIC: "bicubic", BILINEAR: "bilinear"}.get(said.get("resample", BICUBIC))
    size = said.get("size")
    if isinstance(size, dict) and "height" in size:
        found["resize_mode"] = "squash"
    return {key: value for key, value in found.items() if value is not None}
