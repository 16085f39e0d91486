"""The names of a model's files, for readers that need no network: weights, configuration, what a tokenizer has."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from expunge.project.files import digest_of, sha256_file

Digest = TypeVar("Digest", str, str | None)

WEIGHTS = "model.safetensors"
CONFIG = "open_clip_config.json"
PARTS = "parts.safetensors"
"""What a model that was trained in slices was put together from; it can be loaded without."""
TEXT_CONFIG = "config.json"
"""The configuration of a text tower of transformers."""
TOKENIZER = (
    "added_tokens.json",
    "merges.txt",
    "sentencepiece.bpe.model",
    "special_tokens_map.json",
    "spiece.model",
    "tokenizer.json",
    "tokenizer.model",
    "tokenizer_config.json",
    "vocab.json",
    "vocab.txt",
)
"""Of tokenizers, as transformers names them."""


def beside_weights(folder: Path) -> list[Path]:
    """What lies in a model's folder beside its weights and configuration, and without which it cannot be loaded."""
    return [path for name in (TEXT_CONFIG, *TOKENIZER) if (path := folder / name).is_file()]


def preprocess_digest(folder: Path, sha256: Callable[[Path], Digest] = sha256_file) -> Digest:
    """Hex SHA-256 of architecture and preprocessing: of the config file, and of the tokenizer's files if it has any.

    Args:
        sha256: the digest of a file.
    """
    config = sha256(folder / CONFIG)
    beside = {path.name: sha256(path) for path in beside_weights(folder)}
    return digest_of({CONFIG: config, **beside}) if beside else config
