"""Every method runs in the one loop, forgets what it says and is reproducible; calibration hits its level."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from expunge import clip
from expunge.catalog import Catalog
from expunge.checkpoint import Checkpoint
from expunge.clip import Clip
from expunge.config import ComputeParams, TrainParams
from expunge.errors import ExpungeError
from expunge.pairs import Pairs, load_pairs
from expunge.training import train
from expunge.unlearning import loop, registry
from expunge.unlearning.calibration import never_seen_level
from expunge.unlearning.loop import unlearn
from expunge.unlearning.parameters import LoopParams
from expunge.unlearning.task import Task, Teacher
from models import TINY
from samples import make_catalog

COMPUTE = ComputeParams(device="cpu", precision="fp32")
STEPS = {"steps": 40, "learning_rate": 0.002, "forget_batch": 8, "retain_batch": 16}
GRADIENT_METHODS = [name for name, entry in registry.METHODS.items() if issubclass(entry.parameters, LoopParams)]


@pytest.fixture(scope="module")
def recipe(train_params: TrainParams) -> TrainParams:
    return train_params


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("catalog"), 120, 64, splits=("train", "train", "train", "calibration"))


@pytest.fixture(scope="module")
def parent(corpus: Catalog, recipe: TrainParams) -> Clip:
    clip.configure(COMPUTE)
    model = clip.create(TINY, 0)
    pairs = load_pairs(corpus, model, corpus.split_ids("train"))
    train(model, pairs, recipe, COMPUTE, 0)
    return model


def make_task(corpus: Catalog, parent: Clip, recipe: TrainParams, seed: int = 0) -> Task:
    trained = sorted(corpus.split_ids("train"))
    forget, retain = set(trained[:6]), set(trained[6:50])
    kept = load_pairs(corpus, parent, retain)

    def from_scratch() -> tuple[Clip, list]:
        model = clip.create(TINY, 0)
        return model, train(model, load_pairs(corpus, model, set(trained) - forget), recipe, COMPUTE, 0)

    return Task(
        clip=parent.clone(),
        forget=load_pairs(corpus, parent, forget),
        retain=kept,
        is_neighbour=np.arange(len(kept)) < 12,
        held_out=load_pairs(corpus, parent, corpus.split_ids("calibration")),
        retained_captions=corpus.captions(set(trained) - forget),
        training=recipe,
        from_scratch=from_scratch,
        compute=COMPUTE,
        seed=seed,
    )


def similarity(model: Clip, pairs: Pairs) -> float:
    images = model.encode_images(pairs.images(range(len(pairs))))
    return (images * model.encode_texts(pairs.canonical())).sum(dim=1).mean().item()


def state(model: Clip) -> dict[str, torch.Tensor]:
    return model.model.state_dict()


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_every_gradient_method_changes_the_model_and_explains_its_loss(
    corpus: Catalog, parent: Clip, recipe: TrainParams, name: str
) -> None:
    outcome = unlearn(make_task(corpus, parent, recipe), name, STEPS)
    assert outcome.parameters_changed > 0
    assert len(outcome.curve) == STEPS["steps"]
    for row in outcome.curve:
        terms = [value for term, value in row.items() if term not in ("step", "loss")]
        assert row["loss"] == pytest.approx(sum(terms), abs=1e-4)


def test_methods_that_forget_lower_the_similarity_of_forgotten_pairs_more_than_fine_tuning_does(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    before = similarity(parent, make_task(corpus, parent, recipe).forget)
    after = {}
    for name in GRADIENT_METHODS:
        task = make_task(corpus, parent, recipe)
        unlearn(task, name, STEPS)
        after[name] = similarity(task.clip, task.forget)
    forgetting = [after[name] for name in ("cliperase", "cliperase_calibrated", "grad_diff")]
    assert all(found < before - 0.1 for found in forgetting), after
    assert after["finetune"] > max(forgetting), after


def test_the_calibrated_method_stops_at_its_level_where_the_plain_one_goes_on_below(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    strong: dict[str, Any] = STEPS | {"steps": 80, "learning_rate": 0.004, "forgetting_weight": 30.0}
    task = make_task(corpus, parent, recipe)
    level = never_seen_level(
        task.forget.canonical(),
        task.held_out.canonical(),
        Teacher(task).held_out_similarities.numpy(),
        task.retained_captions,
    ).mean()
    unlearn(task, "cliperase_calibrated", strong)
    assert abs(similarity(task.clip, task.forget) - level) < 0.1
    plain = make_task(corpus, parent, recipe)
    unlearn(plain, "cliperase", strong)
    assert similarity(plain.clip, plain.forget) < level - 0.2


def test_running_statistics_and_temperature_are_not_touched(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    task = make_task(corpus, parent, recipe)
    unlearn(task, "cliperase", STEPS)
    for name, value in state(parent).items():
        if "running" in name or "num_batches" in name or name == "logit_scale":
            assert torch.equal(state(task.clip)[name], value), name


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    models = []
    for seed in (0, 0, 1):
        task = make_task(corpus, parent, recipe, seed)
        unlearn(task, "cliperase_calibrated", STEPS)
        models.append(state(task.clip))
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert any(not torch.equal(models[0][name], models[2][name]) for name in models[0])


def test_a_run_that_is_killed_after_a_checkpoint_ends_with_the_same_bits(
    corpus: Catalog, parent: Clip, recipe: TrainParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_STEPS", 10)
    whole = make_task(corpus, parent, recipe)
    unlearn(whole, "cliperase", STEPS)

    def killed(step: int, total: int, loss: float) -> None:
        if step == 25:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, "key")
    with pytest.raises(KeyboardInterrupt):
        unlearn(make_task(corpus, parent, recipe), "cliperase", STEPS, checkpoint, killed)
    assert any(tmp_path.iterdir()), "nothing was saved before the kill"
    seen: list[int] = []
    again = make_task(corpus, parent, recipe)
    unlearn(again, "cliperase", STEPS, checkpoint, lambda step, total, loss: seen.append(step))
    assert seen[0] == 21
    assert all(torch.equal(state(again.clip)[name], value) for name, value in state(whole.clip).items())


def test_retraining_never_sees_the_forget_set(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    task = make_task(corpus, parent, recipe)
    outcome = unlearn(task, "retrain", {})
    assert similarity(outcome.clip, task.forget) < similarity(parent, task.forget) - 0.1


def test_unknown_methods_and_misspelt_hyper_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="known are cliperase"):
        registry.parameters("clip_erase", {})
    with pytest.raises(ValueError, match="learning_rat\n"):
        registry.parameters("cliperase", {"steps": 1, "learning_rat": 1.0})


def test_calibration_expects_more_similarity_where_more_of_the_caption_is_known() -> None:
    retained = [f"{tone} {thing}" for tone in ("light", "dark", "pale") for thing in ("cat", "dog", "owl", "fox")]
    known = [f"bright {thing}" for thing in ("cat", "dog", "owl", "fox")] * 4
    strange = [f"xyzzy{number}" for number in range(16)]
    similarities = np.array([0.8] * len(known) + [0.2] * len(strange))
    level = never_seen_level(["soft cat", "quux"], known + strange, similarities, retained)
    assert level[0] > 0.6
    assert level[1] < 0.4


def test_too_few_held_out_pairs_are_refused() -> None:
    with pytest.raises(ExpungeError, match="too few to calibrate"):
        never_seen_level(["a"], ["b"] * 5, np.zeros(5), ["c"])
