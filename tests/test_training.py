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
from expunge.models.retrain import train_from_scratch
from expunge.models.settings import ComputeParams, TrainParams
from expunge.models.towers import is_image
from expunge.models.training import epoch_order, possible_captions, schedule, train
from expunge.project.errors import ExpungeError
from expunge.settings import Params
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


def of_two_stages() -> Params:
    params = tiny_params(train={"epochs": 4, "batch_size": 16, "text_finish": {"steps": 40, "batch_size": 32}})
    params["train"]["small_pictures"] = {"share": 0.5, "size": 32}
    params["model"] |= {"vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 48, "head_width": 32}}
    return Params.model_validate(params)


FINISHED = of_two_stages()


@pytest.mark.parametrize("share", [0.2, 0.6, 0.97], ids=["both towers", "the text tower", "the text tower, again"])
def test_a_recipe_of_two_stages_resumes_in_either_and_ends_with_the_same_bits(
    corpus: Catalog, tmp_path: Path, share: float
) -> None:
    whole, curve, _ = train_from_scratch(corpus, FINISHED, set(), tmp_path / "whole")
    assert [row.step for row in curve] == list(range(1, len(curve) + 1))

    def killed(step: int, total: int, loss: float | None = None) -> None:
        assert total == len(curve)
        if step > total * share:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train_from_scratch(corpus, FINISHED, set(), tmp_path / "killed", killed)
    steps: list[int] = []
    resumed, again, _ = train_from_scratch(
        corpus, FINISHED, set(), tmp_path / "killed", lambda step, total, loss=None: steps.append(step)
    )
    assert share < 0.5 or steps[0] > len(curve) * share - 32, "it started from the beginning"
    assert same(resumed, whole)
    assert again == curve
    assert not list((tmp_path / "killed").glob("*")), "a finished run leaves a checkpoint behind"


def test_the_last_stage_leaves_the_image_tower_alone(corpus: Catalog, tmp_path: Path) -> None:
    without = FINISHED.model_copy(update={"train": FINISHED.train.model_copy(update={"text_finish": None})})
    plain, curve, _ = train_from_scratch(corpus, without, set(), tmp_path)
    finished, longer, _ = train_from_scratch(corpus, FINISHED, set(), tmp_path)
    assert longer[: len(curve)] == curve
    assert len(longer) == len(curve) + 40
    other = finished.model.state_dict()
    moved = {name for name, weight in plain.model.state_dict().items() if not torch.equal(weight, other[name])}
    assert moved
    assert not any(is_image(name) for name in moved)


def test_pictures_that_the_network_cannot_take_smaller_are_refused_before_training(
    corpus: Catalog, tmp_path: Path
) -> None:
    vit = FINISHED.model.model_copy(
        update={"vision_cfg": {"layers": 1, "width": 64, "patch_size": 16, "image_size": 48, "head_width": 64}}
    )
    with pytest.raises(ExpungeError, match="small_pictures"):
        train_from_scratch(corpus, FINISHED.model_copy(update={"model": vit}), set(), tmp_path)


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
