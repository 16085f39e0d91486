"""A CLIP model small enough to train inside a test."""

from __future__ import annotations

from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.settings import ModelParams

TINY = ModelParams(
    embed_dim=16,
    vision_cfg={"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "head_width": 32},
    text_cfg={"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
)


def tiny_clip(seed: int = 0) -> Clip:
    """A randomly initialised model of about 0.9 million parameters."""
    return clip.create(TINY, seed)
