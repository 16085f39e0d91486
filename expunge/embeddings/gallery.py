"""A model's view of the full catalog, and what follows from ranking against it.

Every rank is against all images or all canonical captions of the catalog, forgotten ones included: a smaller gallery
would flatter every model. Similarities are computed in blocks of rows, so memory stays at `BLOCK` rows of the gallery.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import Tensor

from expunge.models.loss import sigmoid_losses
from expunge.models.network import Network
from expunge.models.pairs import Pairs

BLOCK = 1024


class Encoder(Protocol):
    """Whatever encodes as `Clip` does: a model, or an ensemble of adapters."""

    @property
    def model(self) -> Network: ...

    def encode_images(self, pixels: Tensor, batch_size: int = ...) -> Tensor: ...

    def encode_texts(self, texts: Sequence[str], batch_size: int = ...) -> Tensor: ...


@dataclass(frozen=True)
class Gallery:
    """Embeddings of the catalog under one model.

    Attributes:
        images: unit image embeddings, float32 [N, D].
        texts: unit embeddings of the canonical captions, float32 [N, D].
        scale: the model's logit scale (inverse temperature).
        bias: the model's logit bias where its loss is a sigmoid; None: a softmax.
    """

    images: Tensor
    texts: Tensor
    scale: float
    bias: float | None = None

    @property
    def similarities(self) -> Tensor:
        """Cosine of each pair, [N]."""
        return (self.images * self.texts).sum(dim=1)


@dataclass(frozen=True)
class Matches:
    """How each pair of the catalog fares against the full gallery.

    Attributes:
        image_rank: rank of the right caption for each image, 0 is best, int64 [N].
        text_rank: rank of the right image for each caption, int64 [N].
        loss: the model's own contrastive loss of each pair against the full gallery, mean of both directions, [N].
    """

    image_rank: Tensor
    text_rank: Tensor
    loss: Tensor


def view(clip: Encoder, pairs: Pairs, batch_size: int, images: Tensor | None = None) -> Gallery:
    """Encode all of `pairs` with `clip`, in evaluation mode and float32; `images` are taken as they are."""
    if images is None:
        blocks = [range(start, min(start + BLOCK, len(pairs))) for start in range(0, len(pairs), BLOCK)]
        images = torch.cat([clip.encode_images(pairs.images(list(block)), batch_size) for block in blocks])
    bias = getattr(clip.model, "logit_bias", None)
    return Gallery(
        images,
        clip.encode_texts(pairs.canonical(), batch_size),
        clip.model.logit_scale.exp().item(),
        None if bias is None else bias.item(),
    )


def match(gallery: Gallery) -> Matches:
    """Rank every pair in both directions. Equal scores count against the pair: a collapsed model is not perfect."""
    image_rank, image_loss = _one_way(gallery.images, gallery.texts, gallery)
    text_rank, text_loss = _one_way(gallery.texts, gallery.images, gallery)
    return Matches(image_rank, text_rank, (image_loss + text_loss) / 2)


def _one_way(queries: Tensor, targets: Tensor, gallery: Gallery) -> tuple[Tensor, Tensor]:
    ranks, losses = [], []
    for start in range(0, len(queries), BLOCK):
        scores = queries[start : start + BLOCK] @ targets.T
        rows = torch.arange(len(scores))
        right = scores[rows, rows + start]
        ranks.append((scores >= right[:, None]).sum(dim=1) - 1)
        if gallery.bias is None:
            losses.append(torch.logsumexp(gallery.scale * scores, dim=1) - gallery.scale * right)
        else:
            losses.append(sigmoid_losses(gallery.scale * scores + gallery.bias, rows + start))
    return torch.cat(ranks), torch.cat(losses)
