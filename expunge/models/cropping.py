"""Texts encoded no longer than they are.

A caption takes seven tokens where the text tower has room for twenty or 77. Where attention is causal and the embedding
is read at the end of the text, what follows the end has no part in it, so it need not be run: the result is the same
but for the last bits. Texts of similar length are run together.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call

GROUP = 128
"""Texts that are run together, at the length of the longest."""


def encode_cropped(model: nn.Module, tokens: Tensor) -> Tensor | None:
    """Text features [B, D] of token ids [B, L], which are on the model's device; gradients flow.

    Returns:
        None where the text tower reads beyond the end of a text: such a tower has to be run at full length.
    """
    name = _cropped_tower(model)
    if name is None or not len(tokens):
        return None
    lengths = (tokens.argmax(dim=1) + 1).cpu()  # a text ends at its highest id
    order = torch.argsort(lengths, stable=True)
    parts = [
        _encode(model, name, tokens[rows.to(tokens.device), : int(lengths[rows[-1]])]) for rows in order.split(GROUP)
    ]
    return torch.cat(parts)[torch.argsort(order).to(tokens.device)]


def can_crop(model: nn.Module) -> bool:
    """Whether the text tower is open_clip's own, attends backwards only and is read at the end of the text."""
    return _cropped_tower(model) is not None


def longest_first(tokens: Tensor) -> Tensor:
    """Row numbers [N] of token ids [N, L] from the longest text to the shortest: batches cut from it waste least."""
    return torch.argsort(tokens.argmax(dim=1), descending=True, stable=True)


def _cropped_tower(model: nn.Module) -> str | None:
    """Name of the module that holds the tower, with a dot, or "" for the model itself; None where nothing is cropped.

    Only what the two kinds of text tower of open_clip have is asked for: a causal mask, pooling at the highest id, and
    no token appended behind the text.
    """
    for name, tower in (("", model), ("text.", getattr(model, "text", None))):
        pooling = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
        causal = isinstance(getattr(tower, "attn_mask", None), Tensor)
        known = all(hasattr(tower, part) for part in ("positional_embedding", "token_embedding", "ln_final"))
        if known and causal and pooling == "argmax" and getattr(tower, "cls_emb", None) is None:
            return name
    return None


def _encode(model: nn.Module, name: str, tokens: Tensor) -> Tensor:
    length = tokens.shape[1]
    shorter = {
        f"{name}positional_embedding": model.get_parameter(f"{name}positional_embedding")[:length],
        f"{name}attn_mask": model.get_buffer(f"{name}attn_mask")[:length, :length],
    }
    found: Any = functional_call(model, shorter, kwargs={"text": tokens})
    return found["text_features"] if isinstance(found, dict) else found[1]
