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

Adapters sit on all matrices and kernels but embedding tables; gains, biases, the running statistics of BatchNorm and
the temperature are the backbone's. The papers keep copies of earlier states and several orders of the slices to
retrain less; here the slices have one order.
"""

from __future__ import annotations

import copy
from collections.abc import Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn.utils import parametrize

from expunge.corpus.catalog import Catalog
from expunge.corpus.sample import vector_id
from expunge.models.clip import Clip, Network, autocast
from expunge.models.loss import contrastive_loss
from expunge.models.pairs import Pairs, load_pairs
from expunge.models.retrain import train_from_scratch
from expunge.models.training import augment, draw_caption, epoch_order, schedule
from expunge.project.costs import measured
from expunge.project.errors import ExpungeError
from expunge.project.schema import Block
from expunge.settings import Params
from expunge.unlearning.low_rank import LowRank

Adapter = dict[str, tuple[Tensor, Tensor]]
"""Name of a weight → its factors B [rows, r] and A [r, columns]."""


class ShardedParams(Block):
    """How many adapters there are, and how each is trained; batches, captions and augmentation are the recipe's."""

    shards: Annotated[int, Field(ge=1)] = 2
    slices: Annotated[int, Field(ge=1)] = 3
    rank: Annotated[int, Field(ge=1)] = 8
    epochs: Annotated[int, Field(ge=1)] = 20
    learning_rate: Annotated[float, Field(gt=0)] = 0.003


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


def public_share(ids: Set[str], share: float) -> set[str]:
    """The samples, about `share` of `ids`, that a hash of the id makes public."""
    return {sample_id for sample_id in ids if vector_id(sample_id) < share * 2**63}


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
        number = vector_id(sample_id)
        return number % self.sharding.shards, number // self.sharding.shards % self.sharding.slices

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
                pairs = load_pairs(self.catalog, self.backbone, ids)
                adapters.append(self._train_slice(self.shards[shard], pairs, (self.params.seed, shard, slice_)))
                self.shards[shard] = self._merged(shard)
                trained.append((shard, slice_))
        return trained

    def _merged(self, shard: int) -> Clip:
        """The shard's model; weights without an adapter are shared with the backbone."""
        changed = {name for adapter in self.adapters[shard] for name in adapter}
        shared = {id(weight): weight for name, weight in self.model.named_parameters() if name not in changed}
        network = copy.deepcopy(self.model, shared)
        with torch.no_grad():
            for adapter in self.adapters[shard]:
                for name, (left, right) in adapter.items():
                    weight = network.get_parameter(name)
                    weight.add_((left @ right).view(weight.shape))
        return Clip(network, self.backbone.preprocess, self.backbone.tokenizer, self.backbone.config)

    def _train_slice(self, start: Clip, pairs: Pairs, seed: tuple[int, int, int]) -> Adapter:
        """The adapter of one slice on top of `start`, the shard's model so far."""
        clip, draw = start.clone(), np.random.default_rng(seed)
        updates = _attach(clip.model, self.sharding.rank, draw)
        self._descend(clip, pairs, [factor for update in updates.values() for factor in update.parameters()], draw)
        return {name: (update.up.detach(), update.down.detach()) for name, update in updates.items()}

    def _descend(self, clip: Clip, pairs: Pairs, factors: list[nn.Parameter], draw: np.random.Generator) -> None:
        """Train the factors of one adapter on the pairs of its slice, by the recipe of the backbone."""
        recipe, compute = self.params.train, self.params.compute
        optimizer = torch.optim.AdamW(factors, lr=self.sharding.learning_rate, betas=recipe.betas, weight_decay=0.0)
        batches = max(1, len(epoch_order(pairs, recipe, draw)) // recipe.batch_size)
        total = self.sharding.epochs * batches if len(pairs) > 1 else 0
        for step in range(total):
            if step % batches == 0:
                order = epoch_order(pairs, recipe, draw)
            positions = np.sort(np.array_split(order, batches)[step % batches])
            images = augment(pairs.images(positions), recipe, draw)
            tokens = clip.tokenizer([draw_caption(pairs, position, recipe, draw) for position in positions])
            for group in optimizer.param_groups:
                group["lr"] = self.sharding.learning_rate * schedule(step, total, recipe.warmup_fraction)
            with autocast(clip.device, compute):
                found = clip.encode_pixels(images), clip.encode_tokens(tokens)
            optimizer.zero_grad(set_to_none=True)
            contrastive_loss(*found, clip.model).backward()
            nn.utils.clip_grad_norm_(factors, recipe.clip_gradient)
            optimizer.step()


def _attach(model: nn.Module, rank: int, draw: np.random.Generator) -> dict[str, LowRank]:
    """Give every matrix and kernel of `model` a low-rank update; returns them by the weight's name."""
    found = {}
    for name in _matrices(model):
        path, _, last = name.rpartition(".")
        owner = model.get_submodule(path)
        weight = getattr(owner, last)
        columns = weight.flatten(1).shape[1]
        down = torch.from_numpy(draw.standard_normal((rank, columns)) / np.sqrt(columns)).float()
        found[name] = LowRank(weight, down)
        parametrize.register_parametrization(owner, last, found[name])
    return found


def _matrices(model: nn.Module) -> list[str]:
    """Names of all matrices and kernels of `model` but embedding tables."""
    return [
        f"{prefix}.{name}" if prefix else name
        for prefix, module in model.named_modules()
        for name, weight in module.named_parameters(recurse=False)
        if weight.ndim >= 2 and not isinstance(module, nn.Embedding) and "embedding" not in name
    ]


def _mean_direction(parts: list[Tensor]) -> Tensor:
    return nn.functional.normalize(torch.stack(parts).mean(dim=0), dim=-1)
