"""Exact unlearning by sharded training of adapters, after SISA (Bourtoule et al. 2021, arXiv 1912.03817) and S3T
(Chowdhury et al. 2024, arXiv 2406.16257).

The backbone is trained on public samples only: those that no request may ever touch. Every other training sample
belongs to one slice of one shard, by a hash of its id, so that deleting one moves no other. A shard trains one
low-rank adapter a slice, one after the other, each on its slice alone and on top of the earlier ones (Hu et al. 2021,
arXiv 2106.09685):

    W_s = W + Σ_l B_sl A_sl

The model answers with the mean of the shards' embeddings, scaled back to unit length. To delete samples, the adapters
of the touched slices and of those after them in their shards are dropped, which is exact already, and trained again.
All draws of a slice come from (seed, shard, slice) and from what is left in it, so the result has the same bits as a
model that never saw the samples.

This is the papers' ensemble, which costs a pass a shard. `expunge.models.slices` has the adapters themselves, and one
plain model of them all, which is what a project with `train.sharded` trains and serves.
"""

from __future__ import annotations

from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn

from expunge.corpus.catalog import Catalog
from expunge.models.clip import Clip, Network
from expunge.models.originals import load_for_training
from expunge.models.retrain import train_from_scratch
from expunge.models.settings import ShardedParams
from expunge.models.slices import Adapter, merged, place, train_slice
from expunge.project.costs import measured
from expunge.project.errors import ExpungeError
from expunge.settings import Params


@dataclass(frozen=True)
class Deletion:
    """What a deletion cost.

    Attributes:
        touched: (shard, slice) of every slice that held a deleted sample.
        retrained: the touched slices and those after them in their shards.
        seconds: wall-clock time.
    """

    touched: list[tuple[int, int]]
    retrained: list[tuple[int, int]]
    seconds: float


def train(
    catalog: Catalog,
    params: Params,
    sharding: ShardedParams,
    public: Set[str],
    checkpoints: Path,
    without: Set[str] = frozenset(),
) -> ShardedClip:
    """Train backbone and adapters on the `train` split of `catalog` without the samples `without`.

    Raises:
        ExpungeError: some of `without` are public.
    """
    trained = catalog.split_ids("train")
    backbone, _, _ = train_from_scratch(catalog, params, trained - public, checkpoints)
    sharded = ShardedClip(catalog, backbone, params, sharding, public)
    sharded.drop(without)
    sharded.complete()
    return sharded


class ShardedClip:
    """A backbone and the adapters of its shards; encodes as `Clip` does.

    Attributes:
        private: ids of the training samples that may still be deleted.
        adapters: for each shard, one adapter a slice, in the order of the slices.
        shards: for each shard, the backbone with its adapters merged.
    """

    def __init__(
        self, catalog: Catalog, backbone: Clip, params: Params, sharding: ShardedParams, public: Set[str]
    ) -> None:
        self.catalog = catalog
        self.backbone = backbone
        self.params = params
        self.sharding = sharding
        self.public = public
        self.private = catalog.split_ids("train") - public
        self.adapters: list[list[Adapter]] = [[] for _ in range(sharding.shards)]
        self.backbone.model.eval().requires_grad_(False)
        self.shards: list[Clip] = [backbone] * sharding.shards

    @property
    def model(self) -> Network:
        """The backbone's network: its temperature is that of the whole."""
        return self.backbone.model

    def encode_images(self, pixels: Tensor, batch_size: int = 256) -> Tensor:
        """Unit image embeddings [N, D] (float32, CPU) of uint8 pixels [N, 3, H, W]."""
        return _mean_direction([clip.encode_images(pixels, batch_size) for clip in self.shards])

    def encode_texts(self, texts: Sequence[str], batch_size: int = 256) -> Tensor:
        """Unit text embeddings [N, D] (float32, CPU) of `texts`."""
        return _mean_direction([clip.encode_texts(texts, batch_size) for clip in self.shards])

    def place(self, sample_id: str) -> tuple[int, int]:
        """Shard and slice of a private sample."""
        return place(sample_id, self.sharding)

    def delete(self, ids: Set[str]) -> Deletion:
        """Forget samples exactly: drop the adapters that may know them and train these again without them.

        Raises:
            ExpungeError: some of them are public.
        """
        with measured() as cost:
            touched = self.drop(ids)
            retrained = self.complete()
        return Deletion(touched, retrained, cost.seconds)

    def drop(self, ids: Set[str]) -> list[tuple[int, int]]:
        """Drop every adapter that may know one of the samples and return the touched slices; the rest answers at once.

        Raises:
            ExpungeError: some of them are public.
        """
        if known := len(ids & self.public):
            raise ExpungeError(
                f"{known} of {len(ids)} samples to delete are public: the backbone was trained on them. Train a new "
                "one without them."
            )
        touched = sorted({self.place(sample_id) for sample_id in ids & self.private})
        self.private = self.private - ids
        for shard, slice_ in touched:
            del self.adapters[shard][slice_:]
        for shard in {shard for shard, _ in touched}:
            self.shards[shard] = self._merged(shard)
        return touched

    def complete(self) -> list[tuple[int, int]]:
        """Train the adapters that are missing and return their slices."""
        trained = []
        for shard, adapters in enumerate(self.adapters):
            for slice_ in range(len(adapters), self.sharding.slices):
                ids = {sample_id for sample_id in self.private if self.place(sample_id) == (shard, slice_)}
                recipe, loading = self.params.train, self.params.loading
                pairs = load_for_training(self.catalog, self.backbone, ids, recipe, loading)
                adapter, _ = train_slice(self.shards[shard], pairs, self.params, self.sharding, (shard, slice_))
                adapters.append(adapter)
                self.shards[shard] = self._merged(shard)
                trained.append((shard, slice_))
        return trained

    def _merged(self, shard: int) -> Clip:
        return merged(self.backbone, self.adapters[shard])


def _mean_direction(parts: list[Tensor]) -> Tensor:
    return nn.functional.normalize(torch.stack(parts).mean(dim=0), dim=-1)
