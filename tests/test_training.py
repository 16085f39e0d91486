"""Training: reproducible, resumable, and unable to learn what it was told to leave out."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.loss import contrastive_loss
from expunge.models.pairs import load_pairs
from expunge.models.settings import ComputeParams, TrainParams
from expunge.models.training import epoch_order, possible_captions, schedule, train
from expunge.project.errors import ExpungeError
from models import TINY, tiny_clip
from project import tiny_params
from samples import make_catalog

pytestmark = pytest.mark.slow

COMPUTE = ComputeParams(device="cpu")
RECIPE = TrainParams(**tiny_params()["train"] | {"epochs": 6, "batch_size": 16, "checkpoint_epochs": 2})


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("catalog"), 64, 32, splits=("train",))


def trained(corpus: Catalog, checkpoint: Checkpoint | None = None, **options: object) -> Clip:
    clip.configure(COMPUTE)
    model = clip.create(TINY, 0)
    train(model, load_pairs(corpus, model), RECIPE, COMPUTE, 0, checkpoint, **options)
    return model


def same(first: Clip, second: Clip) -> bool:
    states = first.model.state_dict(), second.model.state_dict()
    return all(torch.equal(states[0][name], states[1][name]) for name in states[0])


def test_training_twice_gives_the_same_bits(corpus: Catalog) -> None:
    assert same(trained(corpus), trained(corpus))


def test_a_killed_run_resumes_and_ends_with_the_same_bits(corpus: Catalog, tmp_path: Path) -> None:
    whole = trained(corpus)

    def killed(step: int, total: int, loss: float) -> None:
        if step > total * 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(corpus, Checkpoint(tmp_path, "key"), progress=killed)
    steps: list[int] = []
    resumed = trained(
        corpus, Checkpoint(tmp_path, "key"), progress=lambda step, total, loss: steps.append((step, total))
    )
    assert steps[0][0] > steps[0][1] // 2, "it started from the beginning"
    assert same(resumed, whole)


def test_another_run_never_resumes_from_this_one(corpus: Catalog, tmp_path: Path) -> None:
    def killed(step: int, total: int, loss: float) -> None:
        if step > total * 0.8:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(corpus, Checkpoint(tmp_path, {"seed": 0}), progress=killed)
    model = clip.create(TINY, 0)
    assert Checkpoint(tmp_path, {"seed": 1}).load(model.model, torch.optim.AdamW(model.model.parameters())) is None


def test_rows_of_tokens_that_no_caption_uses_keep_their_values(corpus: Catalog) -> None:
    before = clip.create(TINY, 0)
    pairs = load_pairs(corpus, before)
    used = torch.unique(before.tokenizer(possible_captions(pairs, RECIPE)))
    unused = torch.ones(49408, dtype=torch.bool)
    unused[used] = False
    unused[0] = False
    rows = before.model.token_embedding.weight[unused]
    after = trained(corpus).model.token_embedding.weight
    assert torch.equal(after[unused], rows)
    assert not torch.equal(after[used], before.model.token_embedding.weight[used])


def test_an_epoch_holds_every_plain_picture_and_its_share_of_the_variants(corpus: Catalog) -> None:
    pairs = load_pairs(corpus, clip.create(TINY, 0))
    order = epoch_order(pairs, RECIPE, np.random.default_rng(0))
    plain = {position for position, variant in enumerate(pairs.variants) if variant is None}
    assert plain <= set(order.tolist())
    assert len(order) == len(set(order.tolist())) == len(plain) + round((64 - len(plain)) * RECIPE.variant_share)


def test_the_loss_is_symmetric_and_zero_for_perfect_pairs() -> None:
    model = tiny_clip().model
    model.logit_scale.data.fill_(math.log(100))
    eye = torch.eye(8)
    noise = torch.nn.functional.normalize(torch.randn(8, 8, generator=torch.Generator().manual_seed(0)), dim=1)
    assert contrastive_loss(eye, eye, model).item() == pytest.approx(0, abs=1e-6)
    assert contrastive_loss(eye, noise, model).item() == pytest.approx(contrastive_loss(noise, eye, model).item())


def test_the_schedule_warms_up_and_ends_near_zero() -> None:
    rates = [schedule(step, 100, 0.1) for step in range(100)]
    assert rates[0] == pytest.approx(0.1)
    assert max(rates) == pytest.approx(1.0)
    assert rates[-1] < 0.01


def test_too_few_pairs_for_a_batch_are_refused(tmp_path: Path) -> None:
    small = make_catalog(tmp_path, 4, splits=("train",))
    model = clip.create(TINY, 0)
    with pytest.raises(ExpungeError, match=r"fewer than train\.batch_size"):
        train(model, load_pairs(small, model), RECIPE, COMPUTE, 0)
