"""The two towers of a model by their digests: what an embedding depends on, and nothing else.

A release that retrains the text tower leaves the image tower bit by bit as it was. Its digest then stays the same, and
so does every image embedding.
"""

from __future__ import annotations

import hashlib
from typing import NamedTuple

import torch

from expunge.models.clip import Clip
from expunge.models.loss import TEMPERATURE
from expunge.project.files import digest_of, sha256_bytes


class Towers(NamedTuple):
    """Hex SHA-256 of the weights of each tower, with what turns pictures and texts into its input."""

    image: str
    text: str


def is_image(name: str) -> bool:
    """Whether a weight belongs to the image tower."""
    return name.startswith("visual.")


def tower_digests(clip: Clip) -> Towers:
    """The digests of both towers."""
    given = digest_of([clip.config, {name: sha256_bytes(data) for name, data in clip.files.items()}]).encode()
    image, text = hashlib.sha256(given), hashlib.sha256(given)
    for name, tensor in sorted(clip.model.state_dict().items()):
        if name not in TEMPERATURE:
            plain = tensor.detach().cpu().contiguous()
            tower = image if is_image(name) else text
            tower.update(f"{name} {plain.dtype} {tuple(plain.shape)}".encode())
            tower.update(plain.view(-1).view(torch.uint8).numpy().data)
    return Towers(image.hexdigest(), text.hexdigest())
