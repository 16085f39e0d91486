"""A model's view of the full catalog, and what follows from ranking against it.

Every rank is against all images or all canonical captions of the catalog, forgotten ones included: a smaller gallery
would flatter every model. Only the pairs that are asked about are ranked, and the gallery passes by in tiles, so the
work grows with the catalog no faster than the catalog does, and memory hardly at all.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from expunge.models.network import Network
from expunge.models.pairs import Pairs
from expunge.project.progress import brief
from expunge.project.scratch import blocks

BLOCK = 1024
TILE = 2048
"""Pairs that are ranked at a time, and columns of the gallery that they are compared with at a time: 8 MiB, which stay
in a processor's cache between the passes over them. With 64 MiB ranking took 1.8 times as long."""
TIE = 1e-6
"""Scores that lie closer are equal: sums of float32 differ in the seventh digit with their place in a tile."""
UNRANKED = -1


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
        images: unit image embeddings, float32, or float16 as a store keeps them, [N, D].
        texts: unit embeddings of the canonical captions, likewise.
        scale: the model's logit scale (inverse temperature).
        bias: the model's logit bias where its loss is a sigmoid; None: a softmax.
    """

    images: Tensor
    texts: Tensor
    scale: float
    bias: float | None = None

    @cached_property
    def similarities(self) -> Tensor:
        """Cosine of each pair, float32 [N]."""
        pairs = ((images, self.texts[start : start + BLOCK]) for start, images in blocks(self.images, BLOCK))
        return torch.cat([(computable(images) * computable(texts)).sum(dim=1) for images, texts in pairs])


@dataclass(frozen=True)
class Matches:
    """How pairs of the catalog fare against the full gallery; pairs that nobody asked about have no rank.

    Attributes:
        image_rank: rank of the right caption for each image, 0 is best, int64 [N]; `UNRANKED` where not asked.
        text_rank: rank of the right image for each caption, likewise.
        loss: the model's own contrastive loss of each pair against the full gallery, mean of both directions, [N];
            not a number where not asked.
    """

    image_rank: Tensor
    text_rank: Tensor
    loss: Tensor


def view(clip: Encoder, pairs: Pairs, batch_size: int) -> Gallery:
    """Encode all of `pairs` with `clip`, in evaluation mode and float32."""
    parts = [range(start, min(start + BLOCK, len(pairs))) for start in range(0, len(pairs), BLOCK)]
    images = []
    with brief("encode pictures") as report:
        for part in parts:
            images.append(clip.encode_images(pairs.images(list(part)), batch_size))
            report(part[-1] + 1, len(pairs))
    return Gallery(torch.cat(images), clip.encode_texts(pairs.canonical(), batch_size), *temperature(clip))


def computable(vectors: Tensor) -> Tensor:
    """Vectors as they are, those of a store in float32: products of float16 are slow and coarse on a CPU."""
    return vectors.float() if vectors.dtype == torch.float16 else vectors


def temperature(clip: Encoder) -> tuple[float, float | None]:
    """A model's logit scale, and its logit bias if it has one."""
    bias = getattr(clip.model, "logit_bias", None)
    return clip.model.logit_scale.exp().item(), None if bias is None else bias.item()


def match(gallery: Gallery, rows: np.ndarray | None = None) -> Matches:
    """Rank the pairs at `rows` (all by default) in both directions.

    Equal scores count against the pair: a collapsed model is not perfect.
    """
    count = len(gallery.images)
    asked = torch.arange(count) if rows is None else torch.from_numpy(np.asarray(rows, np.int64))
    ranks = [torch.full((count,), UNRANKED) for _ in range(2)]
    found = [
        _one_way(queries, targets, gallery, asked)
        for queries, targets in ((gallery.images, gallery.texts), (gallery.texts, gallery.images))
    ]
    for rank, (own, _) in zip(ranks, found, strict=True):
        rank[asked] = own
    loss = torch.full((count,), torch.nan, dtype=found[0][1].dtype)
    loss[asked] = (found[0][1] + found[1][1]) / 2
    return Matches(ranks[0], ranks[1], loss)


class Losses:
    """The losses of some queries, summed up tile by tile: cross-entropy, or the pairwise sigmoid loss with a bias.

    Args:
        right: cosine of each query and its own target, [Q].
    """

    def __init__(self, gallery: Gallery, right: Tensor) -> None:
        self.scale, self.bias, self.right = gallery.scale, gallery.bias, right
        self.total = torch.full_like(right, -torch.inf if self.bias is None else 0.0)

    def add(self, scores: Tensor) -> None:
        """Take in the cosines [Q, T] with a tile of targets, which are overwritten."""
        scores.mul_(self.scale)
        if self.bias is None:
            most = scores.amax(dim=1)
            summed = scores.sub_(most[:, None]).exp_().sum(dim=1).log_().add_(most)
            self.total = torch.logaddexp(self.total, summed)
        else:
            self.total += functional.softplus(scores.add_(self.bias)).sum(dim=1)

    def found(self) -> Tensor:
        """The loss of each query, [Q]."""
        own = self.scale * self.right
        if self.bias is None:
            return self.total - own
        return self.total - functional.softplus(own + self.bias) + functional.softplus(-own - self.bias)


def _one_way(queries: Tensor, targets: Tensor, gallery: Gallery, asked: Tensor) -> tuple[Tensor, Tensor]:
    """Rank and loss of each of the rows `asked` of `queries`, int64 and float32 [A]."""
    ranks, losses = [], []
    for rows in asked.split(BLOCK):
        own = computable(queries[rows])
        right = (own * computable(targets[rows])).sum(dim=1)
        # Every row counts itself once, by whatever the tile makes of its own column.
        rank, loss, limit = torch.full((len(rows),), -1), Losses(gallery, right), right[:, None] - TIE
        for _, tile in blocks(targets, TILE):
            scores = own @ computable(tile).T
            # Bytes summed up as 32-bit numbers: three times as fast as truth values as 64-bit ones.
            rank += torch.ge(scores, limit).view(torch.uint8).sum(dim=1, dtype=torch.int32)
            loss.add(scores)
        ranks.append(rank)
        losses.append(loss.found())
    return torch.cat(ranks or [torch.empty(0, dtype=torch.int64)]), torch.cat(losses or [torch.empty(0)])
