"""A model trained in slices, so that a deletion trains few of them again and is exact all the same.

After SISA (Bourtoule et al. 2021, arXiv 1912.03817) and S3T (Chowdhury et al. 2024, arXiv 2406.16257). A backbone is
trained on a share of the samples by the recipe. Each of the others belongs to one slice of one shard, by a hash of its
id, so that deleting one moves no other. A shard trains one low-rank adapter a slice (Hu et al. 2021, arXiv 2106.09685),
one after the other, each on its slice alone and on top of the earlier ones. What serves is one plain model:

    W′ = W + (1 / shards) Σ_s Σ_l B_sl A_sl

Every part is a function of the contents of its samples, of the parts before it and of the settings, and is known by
their digest. So training goes through all parts in their order and takes those that are known as they are: without a
deleted sample, everything but its slice and those behind it in its shard. The result has the bits of a model that never
saw the sample, because it is the same computation. Deleting a sample of the backbone changes all digests: that costs a
whole training, and is exact as well.

Adapters sit on all matrices and kernels but embedding tables; gains, biases, the running statistics of BatchNorm and
the temperature are the backbone's. The papers keep several orders of the slices to train less again; here there is one,
and the mean of the shards' weights serves where they keep an ensemble.
"""

from __future__ import annotations

import copy
import hashlib
import json
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn
from torch.nn.utils import parametrize

from expunge.corpus.catalog import Catalog
from expunge.corpus.sample import vector_id
from expunge.models import clip
from expunge.models.clip import Clip, autocast
from expunge.models.files import PARTS
from expunge.models.loss import contrastive_loss
from expunge.models.low_rank import LowRank
from expunge.models.originals import Originals, augmented, load_for_training
from expunge.models.pairs import Pairs
from expunge.models.settings import AugmentationParams, ShardedParams, TrainParams
from expunge.models.training import (
    Progress,
    TrainingRow,
    augment,
    draw_caption,
    epoch_order,
    schedule,
)
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of
from expunge.settings import Params

Adapter = dict[str, tuple[Tensor, Tensor]]
"""Name of a weight → its factors B [rows, r] and A [r, columns]."""
BACKBONE = "backbone"


def public_share(ids: Set[str], share: float) -> set[str]:
    """The samples, about `share` of `ids`, that a hash of the id puts into the backbone."""
    return {sample_id for sample_id in ids if vector_id(sample_id) < share * 2**63}


def place(sample_id: str, sharding: ShardedParams) -> tuple[int, int]:
    """Shard and slice of a sample that is not in the backbone."""
    number = vector_id(sample_id)
    return number % sharding.shards, number // sharding.shards % sharding.slices


def train_slices(
    catalog: Catalog,
    params: Params,
    ids: Set[str],
    backbone: Callable[[set[str]], tuple[Clip, list[TrainingRow]]],
    known: Mapping[str, Tensor],
    progress: Progress | None = None,
) -> tuple[Clip, list[TrainingRow]]:
    """The model that serves, with its parts, and the curve of what had to be trained: one row a slice.

    Args:
        params: `train.sharded` is set.
        ids: the samples to train on.
        backbone: trains a model on some of them from scratch.
        known: parts of an earlier model; those whose digest fits are taken.
    """
    sharding = params.train.sharded or ShardedParams()
    contents = _contents(catalog, ids)
    public = public_share(ids, sharding.public_share)
    key = _key(
        [params.model_dump(mode="json", include={"seed", "compute", "model", "train"})], sorted(public), contents
    )
    stored = _adapters(known)
    curve: list[TrainingRow] = []
    if any(name.startswith(f"{BACKBONE}/{key}/") for name in known):
        base = _restored(known, key, params)
    else:
        base, curve = backbone(public)
    base.model.eval().requires_grad_(False)
    parts = {f"{BACKBONE}/{key}/{name}": value.detach().clone() for name, value in base.model.state_dict().items()}
    adapters: list[Adapter] = []
    for shard in range(sharding.shards):
        chain: list[Adapter] = []
        before = key
        for slice_ in range(sharding.slices):
            own = {sample_id for sample_id in ids - public if place(sample_id, sharding) == (shard, slice_)}
            before = _key([before, shard, slice_], sorted(own), contents)
            if before not in stored:
                pairs = load_for_training(catalog, base, own, params.train, params.loading)
                stored[before], loss = train_slice(merged(base, chain), pairs, params, sharding, (shard, slice_))
                curve.append(TrainingRow(len(curve) + 1, sharding.epochs, loss, sharding.learning_rate))
            chain.append(stored[before])
            for name, (left, right) in chain[-1].items():
                parts |= {f"slice/{before}/{name}/up": left, f"slice/{before}/{name}/down": right}
            if progress:
                progress(shard * sharding.slices + slice_ + 1, sharding.shards * sharding.slices, 0.0)
        adapters += chain
    served = merged(base, adapters, 1 / sharding.shards)
    served.model.requires_grad_(True)
    return replace(served, parts=parts), curve


def load_parts(folder: Path) -> dict[str, Tensor]:
    """The parts of a model that was trained in slices; none where it was not.

    Raises:
        ExpungeError: the file is damaged.
    """
    path = Path(folder) / PARTS
    if not path.is_file():
        return {}
    try:
        return load_file(path)
    except SafetensorError as error:
        raise ExpungeError(f"{path} is truncated or damaged ({error}); rebuild the model.") from error


def merged(base: Clip, adapters: Sequence[Adapter], weight: float = 1.0) -> Clip:
    """`base` with `weight` times the adapters added up; weights without an adapter are shared with it."""
    changed = {name for adapter in adapters for name in adapter}
    shared = {id(value): value for name, value in base.model.named_parameters() if name not in changed}
    network = copy.deepcopy(base.model, shared)
    with torch.no_grad():
        for adapter in adapters:
            for name, (left, right) in adapter.items():
                found = network.get_parameter(name)
                found.add_((weight * (left @ right)).to(found).view(found.shape))
    return replace(base, model=network, parts=None)


def train_slice(
    start: Clip, pairs: Pairs | Originals, params: Params, sharding: ShardedParams, where: tuple[int, int]
) -> tuple[Adapter, float]:
    """The adapter of one slice on top of `start`, the shard's model so far, and its last loss."""
    pupil, draw = start.clone(), np.random.default_rng((params.seed, *where))
    updates = _attach(pupil.model, sharding.rank, draw)
    factors = [factor for update in updates.values() for factor in update.parameters()]
    loss = _descend(pupil, pairs, factors, params, sharding, draw)
    return {name: (update.up.detach(), update.down.detach()) for name, update in updates.items()}, loss


def _descend(
    pupil: Clip,
    pairs: Pairs | Originals,
    factors: list[nn.Parameter],
    params: Params,
    sharding: ShardedParams,
    draw: np.random.Generator,
) -> float:
    """Train the factors of one adapter on the pairs of its slice, by the recipe of the backbone."""
    recipe = params.train
    optimizer = torch.optim.AdamW(factors, lr=sharding.learning_rate, betas=recipe.betas, weight_decay=0.0)
    batches = max(1, len(epoch_order(pairs, recipe, draw)) // recipe.batch_size)
    total = sharding.epochs * batches if len(pairs) > 1 else 0
    last = 0.0
    for step in range(total):
        if step % batches == 0:
            parts = [np.sort(part) for part in np.array_split(epoch_order(pairs, recipe, draw), batches)]
            pictures = _pictures(pairs, parts, recipe, params.seed, step // batches, draw)
        positions, images = parts[step % batches], next(pictures)
        tokens = pupil.tokenizer([draw_caption(pairs, position, recipe, draw) for position in positions])
        for group in optimizer.param_groups:
            group["lr"] = sharding.learning_rate * schedule(step, total, recipe.warmup_fraction)
        with autocast(pupil.device, params.compute):
            found = pupil.encode_pixels(images), pupil.encode_tokens(tokens)
        optimizer.zero_grad(set_to_none=True)
        loss = contrastive_loss(*found, pupil.model)
        loss.backward()
        nn.utils.clip_grad_norm_(factors, recipe.clip_gradient)
        optimizer.step()
        last = loss.item()
    return last


def _pictures(
    pairs: Pairs | Originals,
    parts: Sequence[np.ndarray],
    recipe: TrainParams,
    seed: int,
    epoch: int,
    draw: np.random.Generator,
) -> Iterator[Tensor]:
    """uint8 pixels [B, 3, H, W] of each batch of an epoch in turn, as the recipe augments them."""
    if isinstance(pairs, Originals):
        keys = [[(epoch, int(position)) for position in part] for part in parts]
        return augmented(pairs, recipe.aug_cfg or AugmentationParams(), seed, keys)
    return (augment(pairs.images(part), recipe, draw) for part in parts)


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


def _contents(catalog: Catalog, ids: Set[str]) -> dict[str, str]:
    """Sample id → digest of all that training reads of it; a purge of others leaves it as it was."""
    found = {}
    for table in catalog.tables(["sample_id", "class", "variant", "captions", "image"]):
        for row in table.to_pylist():
            if row["sample_id"] in ids:
                said = json.dumps([row["sample_id"], row["class"], row["variant"], row["captions"]], sort_keys=True)
                found[row["sample_id"]] = hashlib.sha256(said.encode() + row["image"]).hexdigest()
    return found


def _key(before: Sequence[object], ids: Sequence[str], contents: Mapping[str, str]) -> str:
    return digest_of([*before, [contents[sample_id] for sample_id in ids]])[:32]


def _restored(known: Mapping[str, Tensor], key: str, params: Params) -> Clip:
    """The backbone from its stored weights."""
    base, prefix = clip.create(params.model, params.seed), f"{BACKBONE}/{key}/"
    base.model.load_state_dict(
        {name.removeprefix(prefix): value for name, value in known.items() if name.startswith(prefix)}
    )
    base.model.to(clip.configure(params.compute))
    return base


def _adapters(known: Mapping[str, Tensor]) -> dict[str, Adapter]:
    found: dict[str, Adapter] = {}
    for name in known:
        if name.startswith("slice/") and name.endswith("/up"):
            _, key, weight, _ = name.split("/")
            found.setdefault(key, {})[weight] = known[name], known[f"slice/{key}/{weight}/down"]
    return found
