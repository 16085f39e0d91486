"""The loss that a model was made for: sigmoid where it has a bias of its own (SigLIP), else symmetric InfoNCE."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor
from torch.nn import functional as F

if TYPE_CHECKING:
    from expunge.models.network import Network

TEMPERATURE = ("logit_scale", "logit_bias")
"""The weights that belong to neither tower."""


def contrastive_loss(images: Tensor, texts: Tensor, model: Network) -> Tensor:
    """Contrastive loss of unit embeddings [B, D] whose rows correspond, by the model's temperature; a scalar in nats.

    With a bias: the pairwise sigmoid loss (Zhai et al. 2023, arXiv 2303.15343), a sum over the B² pairs divided by B.
    Without: cross-entropy in both directions (Radford et al. 2021, arXiv 2103.00020, figure 3).
    """
    logits = model.logit_scale.exp() * images @ texts.T
    if (bias := getattr(model, "logit_bias", None)) is not None:
        signs = 2 * torch.eye(len(logits), device=logits.device, dtype=logits.dtype) - 1
        return -F.logsigmoid(signs * (logits + bias)).sum() / len(logits)
    targets = torch.arange(len(logits), device=logits.device)
    by_image = F.cross_entropy(logits, targets)
    by_text = F.cross_entropy(logits.T, targets)
    return (by_image + by_text) / 2


def matching_loss(logits: Tensor, right: Tensor, model: Network, reduction: str = "mean") -> Tensor:
    """The loss of queries in one direction, for those who hold the other side's embeddings.

    Args:
        logits: scaled cosines [B, C] of queries and targets, without the bias.
        right: number of each query's own target, int64 [B].
        reduction: `mean`, `sum` or `none`, over the queries.
    """
    if (bias := getattr(model, "logit_bias", None)) is None:
        return F.cross_entropy(logits, right, reduction=reduction)
    losses = sigmoid_losses(logits + bias, right)
    return losses if reduction == "none" else losses.sum() if reduction == "sum" else losses.mean()


def sigmoid_losses(logits: Tensor, right: Tensor) -> Tensor:
    """Sum over the targets of each query's pairwise sigmoid losses, [B], for logits [B, C] with the bias in them."""
    own = logits.gather(1, right[:, None]).squeeze(1)
    return F.softplus(logits).sum(dim=1) - F.softplus(own) + F.softplus(-own)
