"""Methods that train on all that stays, from weights that started clean, were transposed, or are the parent's."""

from __future__ import annotations

import functools
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.models import clip, lesson
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs
from expunge.models.settings import ModelParams, TrainParams
from expunge.project.errors import ExpungeError
from expunge.unlearning import registry
from expunge.unlearning.loop import Unlearned, unlearn
from expunge.unlearning.methods.convolution_transpose import transpose
from expunge.unlearning.methods.masked_small_gradients import smallest
from expunge.unlearning.problem import Problem, see
from models import TINY
from problems import make_corpus, make_parent, make_problem

pytestmark = pytest.mark.slow

SHORT = {"steps": 24, "batch_size": 24, "learning_rate": 0.01}
METHODS: dict[str, dict[str, Any]] = {
    "retrain_image": {"steps": 120, "batch_size": 40, "learning_rate": 0.006},
    "retrain_both": {
        "text": {"steps": 70, "batch_size": 48, "learning_rate": 0.01},
        "image": SHORT | {"steps": 60},
        "polish": SHORT | {"steps": 40, "learning_rate": 0.003},
    },
    "eu_k": SHORT,
    "cf_k": SHORT,
    "masked_small_gradients": SHORT,
    "convolution_transpose": SHORT,
}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_corpus(tmp_path_factory.mktemp("catalog"), 72)


@pytest.fixture(scope="module")
def parent(corpus: Catalog, train_params: TrainParams) -> Clip:
    return make_parent(corpus, train_params)


@pytest.fixture(scope="module")
def problem(corpus: Catalog, parent: Clip, train_params: TrainParams) -> Problem:
    return make_problem(corpus, parent, train_params)


@pytest.fixture(scope="module")
def run(problem: Problem) -> Any:
    """Runs a method once for all tests that ask for the same; a rebuild leaves the problem's model as it was."""

    @functools.cache
    def once(name: str, **values: Any) -> Unlearned:
        return unlearn(problem, name, METHODS[name] | values)

    return once


def state(model: Clip) -> dict[str, Tensor]:
    return model.model.state_dict()


def similarity(model: Clip, pairs: Pairs) -> float:
    return see(model, pairs).similarities.mean().item()


def unchanged(before: Clip, after: Clip) -> set[str]:
    return {name for name, value in state(before).items() if torch.equal(state(after)[name], value)}


@pytest.mark.parametrize("name", sorted(METHODS))
def test_what_stays_is_kept_better_than_what_goes_and_the_parent_is_not_touched(
    run: Any, problem: Problem, parent: Clip, name: str
) -> None:
    new = run(name).clip
    fallen = [similarity(parent, pairs) - similarity(new, pairs) for pairs in (problem.forget, problem.retain)]
    assert fallen[0] > fallen[1] + 0.02, fallen
    assert unchanged(parent, problem.clip) == set(state(parent))


@pytest.mark.parametrize("name", ["retrain_both", "masked_small_gradients"])
def test_a_run_that_was_killed_ends_with_the_same_bits(
    run: Any, problem: Problem, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(lesson, "CHECKPOINT_STEPS", 5)
    count = len(run(name).curve)
    last = count - 2

    def killed(step: int, total: int, loss: float | None = None) -> None:
        assert total == count
        if step == last:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, "key")
    with pytest.raises(KeyboardInterrupt):
        unlearn(problem, name, METHODS[name], checkpoint, killed)
    seen: list[int] = []
    again = unlearn(problem, name, METHODS[name], checkpoint, lambda step, *_: seen.append(step))
    assert seen[0] > last - 6, "it began anew"
    assert [row["step"] for row in again.curve] == list(range(1, count + 1))
    assert unchanged(run(name).clip, again.clip) == set(state(again.clip))
    checkpoint.clear()
    assert not any(tmp_path.iterdir())


def test_a_retrained_image_tower_leaves_the_text_tower_bit_by_bit(run: Any, parent: Clip) -> None:
    for name in unchanged(parent, parent):
        kept = torch.equal(state(run("retrain_image").clip)[name], state(parent)[name])
        assert kept != (name.startswith("visual.") or name == "logit_scale") or name.endswith("num_batches_tracked"), (
            name
        )


def test_of_the_last_stage_alone_only_that_and_the_pooling_are_new(run: Any, parent: Clip) -> None:
    new = run("retrain_image", part="last_stage").clip
    changed = set(state(parent)) - unchanged(parent, new) - {"logit_scale"}
    assert changed
    assert all(name.startswith(("visual.layer4.", "visual.attnpool.")) for name in changed), changed


def test_cached_activations_give_the_embeddings_of_the_whole_tower(problem: Problem, parent: Clip) -> None:
    from expunge.unlearning.towers import last_stage_on

    rows = np.array([3, 0, 7])
    encode = last_stage_on(parent, problem.forget if len(problem.forget) > 7 else problem.retain)
    with torch.no_grad():
        found = encode(parent, rows, 0, slice(None))
    pairs = problem.forget if len(problem.forget) > 7 else problem.retain
    assert torch.allclose(found, parent.encode_images(pairs.images(rows)), atol=5e-3)


def test_a_tower_without_stages_is_retrained_as_a_whole_or_not_at_all(problem: Problem) -> None:
    vision = {"layers": 1, "width": 16, "patch_size": 16, "image_size": 32, "head_width": 8}
    transformer = ModelParams(embed_dim=16, vision_cfg=vision, text_cfg=TINY.text_cfg)
    other = replace(problem, clip=clip.create(transformer, 0), clean_start=lambda seed: clip.create(transformer, seed))
    with pytest.raises(ExpungeError, match="set `part` to `whole`"):
        unlearn(other, "retrain_image", SHORT | {"part": "last_stage", "steps": 1})
    for name in ("retrain_image", "convolution_transpose", "eu_k"):
        assert unlearn(other, name, SHORT | {"steps": 1}).parameters_changed > 0


def test_both_towers_start_clean(run: Any, parent: Clip) -> None:
    same = unchanged(parent, run("retrain_both").clip)
    assert {name for name in same if state(parent)[name].ndim > 1} == set()


def test_eu_k_and_cf_k_change_the_last_layers_only_and_start_from_clean_or_old_weights(
    run: Any, problem: Problem, parent: Clip
) -> None:
    still = {"steps": 1, "learning_rate": 1e-12}
    fresh = clip.create(TINY, problem.seed)
    for name, start in (("eu_k", fresh), ("cf_k", parent)):
        changed = set(state(parent)) - unchanged(parent, run(name).clip)
        assert any(part.startswith("visual.layer4.") for part in changed)
        assert any(part.startswith("transformer.resblocks.") for part in changed)
        assert not any(part.startswith(("visual.layer1.", "visual.layer3.", "token_emb", "logit")) for part in changed)
        began = state(run(name, **still).clip)["visual.attnpool.c_proj.weight"]
        assert torch.allclose(began, state(start)["visual.attnpool.c_proj.weight"], atol=1e-6), name


def test_kernels_are_transposed_in_height_and_width(parent: Clip) -> None:
    new = parent.clone()
    transpose(new.model)
    before, after = (state(model)["visual.conv1.weight"] for model in (parent, new))
    assert torch.equal(after, before.transpose(2, 3))
    assert not torch.equal(after, before)
    transpose(new.model)
    assert unchanged(parent, new) == set(state(parent))


def test_small_gradients_start_anew_and_the_rest_moves_little(run: Any, problem: Problem, parent: Clip) -> None:
    assert smallest(torch.tensor([[3.0, -1.0], [0.5, -4.0]]), 0.5).tolist() == [[False, True], [True, False]]
    name, fresh = "transformer.resblocks.0.mlp.c_fc.weight", clip.create(TINY, problem.seed)
    began = state(run("masked_small_gradients", steps=1, learning_rate=1e-12).clip)[name]
    anew = torch.isclose(began, state(fresh)[name], atol=1e-7)
    assert anew.double().mean().item() == pytest.approx(0.3, abs=0.02)
    assert torch.allclose(began[~anew], state(parent)[name][~anew], atol=1e-7)
    moved = (state(run("masked_small_gradients").clip)[name] - began).abs()
    assert moved[~anew].mean() < 0.5 * moved[anew].mean()


def test_forgetting_comes_before_reminding_and_the_soup_brings_no_caption_back(
    corpus: Catalog, parent: Clip, train_params: TrainParams
) -> None:
    values = {"steps": 40, "learning_rate": 0.003, "forget_batch": 8, "retain_batch": 32}
    made = make_problem(corpus, parent, train_params)
    rows = unlearn(made, "forget_remind_restore", values).curve
    assert [row["retention"] == 0 for row in rows] == [True] * 20 + [False] * 20
    assert [row["forgetting"] == 0 for row in rows] == [False] * 20 + [True] * 20
    fallen = [similarity(parent, pairs) - similarity(made.clip, pairs) for pairs in (made.forget, made.retain)]
    assert fallen[0] > fallen[1] + 0.02, fallen


def test_every_method_that_trains_on_what_stays_is_tested_here() -> None:
    found = {
        name
        for name in registry.METHODS
        if issubclass(registry.parameters_class(name), lesson.LessonParams) and name != "retrain_text"
    }
    assert found | {"retrain_both"} == set(METHODS)
