"""A step on more pairs than the device takes at once: the gradient of the whole batch, part by part.

A contrastive loss looks at all pairs of a batch, so its parts cannot be averaged. As in gradient caching (Gao et al.,
2021, arXiv 2101.06983) all parts are encoded without a graph, the loss of the whole batch gives the gradient of each
embedding, and each part is encoded once more to carry its share back into the weights. (open_clip's `--accum-freq` does
the same, but counts the temperature's gradient once for each part.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import torch
from torch import Tensor, nn

from expunge.models.loss import contrastive_loss
from expunge.models.network import Network

Part = Callable[[], tuple[Tensor, Tensor]]
"""Encodes one part of the batch: unit image and text embeddings [B, D]."""


def accumulate(model: Network, parts: Sequence[Part]) -> Tensor:
    """Add the gradient of the loss over all parts to the weights and return the loss, a scalar.

    BatchNorm normalises each part by itself, and follows each once.
    """
    states = []
    features: list[tuple[Tensor, Tensor]] = []
    with torch.no_grad(), _unfollowed(model):
        for encode in parts:
            states.append(_random_state())
            images, texts = encode()
            features.append((images.detach().requires_grad_(), texts.detach().requires_grad_()))
    images, texts = (torch.cat(side) for side in zip(*features, strict=True))
    loss = contrastive_loss(images, texts, model)
    loss.backward()
    for encode, state, (image, text) in zip(parts, states, features, strict=True):
        _restore(state)  # so that dropout leaves out the same
        torch.autograd.backward(encode(), (image.grad, text.grad))
    return loss.detach()


@contextmanager
def _unfollowed(model: nn.Module) -> Iterator[None]:
    """Inside the block the running statistics of BatchNorm stay as they are."""
    norms = [module for module in model.modules() if isinstance(module, nn.modules.batchnorm._BatchNorm)]
    before = [(norm, norm.momentum, norm.num_batches_tracked) for norm in norms]
    for norm, _, seen in before:
        norm.momentum = 0.0
        norm.num_batches_tracked = seen.clone() if seen is not None else None
    try:
        yield
    finally:
        for norm, momentum, seen in before:
            norm.momentum, norm.num_batches_tracked = momentum, seen


def _random_state() -> list[Tensor]:
    return [torch.get_rng_state(), *(torch.cuda.get_rng_state_all() if torch.cuda.is_available() else [])]


def _restore(state: list[Tensor]) -> None:
    torch.set_rng_state(state[0])
    if state[1:]:
        torch.cuda.set_rng_state_all(state[1:])
