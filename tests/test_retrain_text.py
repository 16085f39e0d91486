"""A text tower retrained from a clean start knows nothing of what it forgets, and keeps what stays."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.settings import TrainParams
from expunge.models.training import possible_captions
from expunge.project.errors import ExpungeError
from expunge.unlearning.loop import Unlearned, unlearn
from expunge.unlearning.problem import Problem, see
from models import TINY
from problems import make_corpus, make_parent, make_problem

pytestmark = pytest.mark.slow

VALUES = {"steps": 70, "batch_size": 48, "learning_rate": 0.01}


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_corpus(tmp_path_factory.mktemp("catalog"), 80)


@pytest.fixture(scope="module")
def parent(corpus: Catalog, train_params: TrainParams) -> Clip:
    return make_parent(corpus, train_params.model_copy(update={"epochs": 25}))


@pytest.fixture(scope="module")
def problem(corpus: Catalog, parent: Clip, train_params: TrainParams) -> Problem:
    classes = dict(zip(corpus.ids, corpus.metadata["class"].to_pylist(), strict=True))
    trained = corpus.split_ids("train")
    forget = {sample_id for sample_id in trained if classes[sample_id] == "bird"}
    return make_problem(corpus, parent, train_params, forget=forget, retain=trained - forget)


@pytest.fixture(scope="module")
def retrained(problem: Problem) -> Unlearned:
    return unlearn(problem, "retrain_text", VALUES)


def similarity(model: Clip, problem: Problem, name: str) -> float:
    return see(model, getattr(problem, name)).similarities.mean().item()


def test_forgotten_pairs_fall_and_retained_ones_stay(problem: Problem, parent: Clip, retrained: Unlearned) -> None:
    assert similarity(retrained.clip, problem, "forget") < similarity(parent, problem, "forget") - 0.1
    assert similarity(retrained.clip, problem, "retain") > similarity(parent, problem, "retain") - 0.05


def test_the_image_tower_is_the_parents_bit_by_bit(parent: Clip, retrained: Unlearned) -> None:
    new = retrained.clip.model.state_dict()
    tower = {name: value for name, value in parent.model.state_dict().items() if name.startswith("visual.")}
    assert all(torch.equal(new[name], value) for name, value in tower.items())


def test_tokens_that_no_retained_caption_uses_are_as_in_a_model_that_never_trained(
    problem: Problem, retrained: Unlearned
) -> None:
    tokens = [
        problem.clip.tokenizer(possible_captions(pairs, problem.training)) for pairs in (problem.forget, problem.retain)
    ]
    own = sorted(set(tokens[0].flatten().tolist()) - set(tokens[1].flatten().tolist()))
    assert own, "the forgotten captions have no word of their own"
    fresh = clip.create(TINY, 0).model.token_embedding.weight[own]
    assert torch.equal(retrained.clip.model.token_embedding.weight[own], fresh)


def test_a_run_that_was_killed_ends_with_the_same_bits(problem: Problem, retrained: Unlearned, tmp_path: Path) -> None:
    def killed(step: int, total: int, loss: float | None = None) -> None:
        if step == 50:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, "key")
    with pytest.raises(KeyboardInterrupt):
        unlearn(replace(problem, clip=problem.clip.clone()), "retrain_text", VALUES, checkpoint, killed)
    seen: list[int] = []
    again = unlearn(problem, "retrain_text", VALUES, checkpoint, lambda step, *_: seen.append(step))
    assert seen[:2] == [32, 33]  # where it goes on, then each step
    state = again.clip.model.state_dict()
    assert all(torch.equal(state[name], value) for name, value in retrained.clip.model.state_dict().items())


def test_a_clean_start_of_another_shape_is_refused(problem: Problem, tmp_path: Path) -> None:
    wider = TINY.model_copy(update={"text_cfg": TINY.text_cfg | {"width": 32}})
    clip.save(clip.create(wider, 0), tmp_path / "ancestor")
    with pytest.raises(ExpungeError, match="does not fit"):
        unlearn(problem, "retrain_text", VALUES | {"clean_start": str(tmp_path / "ancestor")})


def test_an_ancestor_can_be_the_clean_start(problem: Problem, tmp_path: Path) -> None:
    clip.save(clip.create(TINY, 7), tmp_path / "ancestor")
    values = VALUES | {"steps": 1, "learning_rate": 1e-9}
    new = unlearn(problem, "retrain_text", values | {"clean_start": str(tmp_path / "ancestor")}).clip
    ancestor = clip.create(TINY, 7).model.token_embedding.weight
    assert torch.allclose(new.model.token_embedding.weight, ancestor, atol=1e-6)
