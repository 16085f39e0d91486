"""The diagonal of the empirical Fisher information: how much each weight matters to some of a problem's pairs."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import torch
from torch import Tensor

from expunge.models.loss import matching_loss
from expunge.unlearning.method import Method, total
from expunge.unlearning.weights import learns_images, learns_texts


def squared_gradients(
    method: Method,
    weights: Sequence[Tensor],
    rows: Sequence[int] | np.ndarray,
    tokenize: Callable[[Sequence[str]], Tensor],
    images: Tensor,
    texts: Tensor,
) -> tuple[list[Tensor], float]:
    """Mean squared gradient of each of `weights`, and mean loss, over the pairs `rows`.

    Each pair is an example with a gradient of its own: the model's own loss of its picture over all captions and of its
    caption over all pictures, whose embeddings are held at what the parent made of them. No batch size enters, and one
    pair is enough. A tower of which no weight is trained is not run.

    Args:
        rows: numbers of pairs, those to forget first and the retained ones after them.
        tokenize: captions → token ids that the model knows at the moment.
        images, texts: the parent's unit embeddings of all pairs of the problem in that order, [F + R, D].
    """
    problem, clip = method.problem, method.problem.clip
    squares = [torch.zeros_like(weight) for weight in weights]
    mean = 0.0
    runs_images, runs_texts = learns_images(clip.model), learns_texts(clip.model)
    clip.model.eval()
    for row in rows:
        pairs, position = (
            (problem.forget, row) if row < len(problem.forget) else (problem.retain, row - len(problem.forget))
        )
        own = torch.tensor([row], device=clip.device)
        losses = []
        if runs_images:
            image = clip.encode_pixels(pairs.images([position]))
            losses.append(matching_loss(method.matching(image, texts), own, clip.model))
        if runs_texts:
            text = clip.encode_tokens(tokenize(pairs.canonical([position])))
            losses.append(matching_loss(method.matching(text, images), own, clip.model))
        loss = total(losses) / len(losses)
        for square, gradient in zip(
            squares, torch.autograd.grad(loss, weights, allow_unused=True, materialize_grads=True), strict=True
        ):
            square.addcmul_(gradient, gradient, value=1 / len(rows))
        mean += loss.item() / len(rows)
    return squares, mean


def dampening(of_forget: Tensor, of_retain: Tensor, alpha: float, strength: float) -> Tensor:
    """The factor in [0, 1] of each weight: 1 where it matters to forgotten pairs at most `alpha` times as much.

    min(λ · F_D / F_f, 1) where F_f > α · F_D: selective synaptic dampening (Foster et al., AAAI 2024, arXiv
    2308.07707).
    """
    factor = (strength * of_retain / of_forget).clamp(max=1)
    return torch.where(of_forget > alpha * of_retain, factor, torch.ones_like(factor))
