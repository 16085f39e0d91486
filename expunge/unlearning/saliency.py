"""SalUn's mask (Fan et al., ICLR 2024, arXiv 2310.12508): change only the weights that matter to the forget set.

    m = 1[ |∇ L_f(θ°)| is among the largest share of all ]

L_f is the contrastive loss of the forgotten pairs with the retained ones as further negatives, at the parent's weights.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

import numpy as np
import torch
from torch import Tensor, nn

from expunge.models.clip import autocast
from expunge.models.loss import matching_loss
from expunge.models.training import draw_caption
from expunge.unlearning.method import Descent


@contextmanager
def only_salient(
    method: Descent, trained: Sequence[nn.Parameter], share: float, tokenize: Callable[[Sequence[str]], Tensor]
) -> Iterator[None]:
    """Inside the block all but the most salient `share` of the weights get zero gradients, so Adam leaves them be."""
    hooks = []
    if share < 1:
        for weight, mask in zip(trained, _masks(_forget_gradients(method, trained, tokenize), share), strict=True):
            hooks.append(weight.register_hook(lambda gradient, masked=~mask: gradient.masked_fill(masked, 0)))
    try:
        yield
    finally:
        for hook in hooks:
            hook.remove()


def _masks(gradients: Sequence[Tensor], share: float) -> list[Tensor]:
    """Which entries are among the largest `share` of all in size, and not zero."""
    sizes = torch.cat([gradient.abs().flatten() for gradient in gradients])
    threshold = torch.topk(sizes, max(1, round(share * len(sizes))), sorted=False).values.min()
    return [(gradient.abs() >= threshold) & (gradient != 0) for gradient in gradients]


def _forget_gradients(
    method: Descent, trained: Sequence[nn.Parameter], tokenize: Callable[[Sequence[str]], Tensor]
) -> list[Tensor]:
    problem, teacher = method.problem, method.teacher
    draw = np.random.default_rng(problem.seed)
    device, scale = problem.clip.device, problem.clip.model.logit_scale.exp().detach()
    captions = [
        draw_caption(problem.retain, position, problem.training, draw) for position in range(len(problem.retain))
    ]
    other_images, other_texts = teacher.retain_images.to(device), teacher.texts(captions).to(device)
    gradients = [torch.zeros_like(weight) for weight in trained]
    for positions in np.array_split(
        np.arange(len(problem.forget)), -(-len(problem.forget) // method.params.forget_batch)
    ):
        captions = [draw_caption(problem.forget, position, problem.training, draw) for position in positions]
        with autocast(device, problem.compute):
            images = problem.clip.encode_pixels(problem.forget.images(positions))
            texts = problem.clip.encode_tokens(tokenize(captions))
        right = torch.arange(len(positions), device=device)
        model = problem.clip.model
        loss = matching_loss(scale * images @ torch.cat([texts, other_texts]).T, right, model, "sum")
        loss = loss + matching_loss(scale * texts @ torch.cat([images, other_images]).T, right, model, "sum")
        found = torch.autograd.grad(loss, trained, allow_unused=True, materialize_grads=True)
        gradients = [total + gradient for total, gradient in zip(gradients, found, strict=True)]
    return gradients
