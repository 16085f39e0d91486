"""Texts encoded no longer than they are.

A caption takes seven tokens where the text tower has room for twenty or 77. Where attention is causal and the embedding
is read at the end of the text, what follows the end has no part in it, so it need not be run: the result is the same
but for the last bits. Texts of similar length are run together.
"""

from __future__ import annotations

import open_clip
import torch
from torch import Tensor
from torch.func import functional_call

from expunge.models.clip import Clip

GROUP = 128
"""Texts that are run together, at the length of the longest."""


def encode_cropped(clip: Clip, tokens: Tensor) -> Tensor:
    """Unit text embeddings [B, D] (float32) of token ids [B, L], as `Clip.encode_tokens` gives them; gradients flow.

    Towers that read beyond the end of a text are run at full length.
    """
    if not can_crop(clip):
        return clip.encode_tokens(tokens)
    lengths = tokens.argmax(dim=1) + 1  # a text ends at its highest id
    order = torch.argsort(lengths, stable=True)
    parts = [_encode(clip, tokens[rows, : int(lengths[rows].max())].to(clip.device)) for rows in order.split(GROUP)]
    return torch.cat(parts)[torch.argsort(order).to(clip.device)]


def can_crop(clip: Clip) -> bool:
    """Whether the text tower is open_clip's own, attends backwards only and is read at the end of the text."""
    model = clip.model
    return isinstance(model, open_clip.CLIP) and model.attn_mask is not None and model.text_pool_type == "argmax"


def _encode(clip: Clip, tokens: Tensor) -> Tensor:
    model, length = clip.model, tokens.shape[1]
    mask = model.get_buffer("attn_mask")
    shorter = {
        "positional_embedding": model.get_parameter("positional_embedding")[:length],
        "attn_mask": mask[:length, :length],
    }
    found = functional_call(model, shorter, kwargs={"text": tokens})
    features = found["text_features"] if isinstance(found, dict) else found[1]
    return torch.nn.functional.normalize(features.float(), dim=-1)
