"""A model's own tokenizer: CLIP's, which open_clip brings, or one of transformers, whose files lie beside the weights.

Files of transformers' tokenizers are read from the model's folder, so a model that was saved once needs no hub. None of
them holds code: a tokenizer that wants to run its own is refused.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from torch import Tensor

from expunge.models.files import TEXT_CONFIG, TOKENIZER, beside_weights
from expunge.models.hub import download
from expunge.models.network import open_clip, require_transformers, unpacked
from expunge.project.errors import ExpungeError, one_line
from expunge.project.reading import read_plain

Tokenizer = Callable[[Sequence[str]], Tensor]
"""List of texts → int64 tensor [B, context_length]."""

MAX_BYTES = 256 << 20
"""Gemma's vocabulary, the largest in use, takes 34 MiB."""


def needs_files(model_cfg: Mapping[str, Any]) -> bool:
    """Whether a model's tokenizer or text tower comes from transformers."""
    return bool({"hf_tokenizer_name", "hf_model_name"} & model_cfg["text_cfg"].keys())


def read_files(folder: Path) -> dict[str, bytes]:
    """The files of a tokenizer and of a text tower's configuration that lie in `folder`, by name."""
    return {path.name: read_plain(path, MAX_BYTES) for path in beside_weights(folder)}


def find_files(model_cfg: Mapping[str, Any], source: str | None) -> dict[str, bytes]:
    """The files that a model needs beside its weights.

    Args:
        source: a folder, or the name of a repository at the hub; None for what the architecture names.

    Raises:
        ExpungeError: they are neither in the folder nor to be had from the hub or its cache.
    """
    if not needs_files(model_cfg):
        return {}
    require_transformers()
    if source is not None and Path(source).is_dir():
        return read_files(Path(source))
    text_cfg = model_cfg["text_cfg"]
    found: dict[str, bytes] = {}
    tower = {TEXT_CONFIG} if "hf_model_name" in text_cfg else set()
    for repository, names in (
        (source or text_cfg.get("hf_model_name"), tower),
        (source or text_cfg.get("hf_tokenizer_name"), set(TOKENIZER)),
    ):
        if repository and names:
            found |= {name: read_plain(path, MAX_BYTES) for name, path in download(repository, names).items()}
    return found


def open_tokenizer(model_cfg: Mapping[str, Any], files: Mapping[str, bytes]) -> Tokenizer:
    """The tokenizer of a model with `files` beside its weights.

    Raises:
        ExpungeError: a file is missing or damaged, or wants to run code that comes with it.
    """
    text_cfg = model_cfg["text_cfg"]
    options = dict(text_cfg.get("tokenizer_kwargs") or {})
    length = text_cfg.get("context_length", open_clip.tokenizer.DEFAULT_CONTEXT_LENGTH)
    if "hf_tokenizer_name" not in text_cfg:
        return open_clip.SimpleTokenizer(context_length=length, **options)
    require_transformers()
    if not set(files) - {TEXT_CONFIG}:
        raise ExpungeError(
            "This model's tokenizer comes from transformers, and its files are missing: set model.tokenizer to a "
            "folder that holds them (tokenizer.json, tokenizer_config.json, or what the tokenizer has)."
        )
    if options.pop("trust_remote_code", False) or b'"auto_map"' in files.get("tokenizer_config.json", b""):
        raise ExpungeError("This model's tokenizer wants to run code that comes with it; that is not done.")
    mode = text_cfg.get("tokenizer_mode")
    with unpacked(files) as folder:
        try:
            return open_clip.tokenizer.HFTokenizer(
                str(folder), context_length=length, tokenizer_mode=mode, trust_remote_code=False, **options
            )
        except (OSError, RuntimeError, TypeError, ValueError, KeyError, AttributeError, ImportError) as error:
            raise ExpungeError(f"transformers cannot read this model's tokenizer ({one_line(error)}).") from None
