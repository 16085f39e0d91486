"""Does forgetting survive quantisation? A copy of a model whose weights went through integers and back.

Unlearning that changes weights by less than half a quantisation step is undone by rounding (Zhang et al. 2024, arXiv
2410.16454, on language models), and models are often served quantised, so every question should be asked once more of
the quantised model. Weight-only, symmetric, one scale for each output channel c (Nagel et al. 2021, arXiv 2106.08295,
section 2.2):
    s_c = max |w_c| / (2^(b-1) - 1),   q = round(w / s_c),   w' = s_c q.
Biases, normalisation and embedding tables stay as they are, as they do in deployed models.
"""

from __future__ import annotations

from collections.abc import Iterator

import torch
from torch import Tensor, nn

from expunge.models.clip import Clip


def quantised(clip: Clip, bits: int = 8) -> Clip:
    """A clone of `clip` whose linear, convolution, attention and projection weights are those of `bits`-bit integers.

    `clip` itself is left untouched. `bits` is at least 2; 8 and 4 are what models are served in.
    """
    copy = clip.clone()
    with torch.no_grad():
        for weight, channel in _weights(copy.model):
            weight.copy_(_round_trip(weight, channel, 2 ** (bits - 1) - 1))
    return copy


def _round_trip(weight: Tensor, channel: int, levels: int) -> Tensor:
    others = [axis for axis in range(weight.ndim) if axis != channel]
    step = weight.abs().amax(dim=others, keepdim=True) / levels
    return torch.where(step > 0, (weight / step).round() * step, weight)


def _weights(model: nn.Module) -> Iterator[tuple[Tensor, int]]:
    """Each weight matrix with the axis of its output channels."""
    for module in model.modules():
        if isinstance(module, nn.Linear | nn.Conv2d):
            yield module.weight, 0
        elif isinstance(module, nn.MultiheadAttention) and module.in_proj_weight is not None:
            yield module.in_proj_weight, 0
        # open_clip's projections to the shared space are bare matrices [width, D], multiplied from the right.
        for name in ("proj", "text_projection"):
            if isinstance(projection := getattr(module, name, None), nn.Parameter):
                yield projection, 1
