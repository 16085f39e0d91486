"""The general methods, as CLIP has them: each forgets in the way that its formula says, and reproducibly."""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import Gallery, view
from expunge.models.clip import Clip
from expunge.models.settings import TrainParams
from expunge.unlearning import registry
from expunge.unlearning.fisher import dampening
from expunge.unlearning.loop import Unlearned, unlearn
from expunge.unlearning.methods.label_agnostic import fit
from expunge.unlearning.methods.random_labels import others
from expunge.unlearning.problem import Problem
from problems import make_corpus, make_parent, make_problem

pytestmark = pytest.mark.slow

LOOP = {"steps": 24, "learning_rate": 0.003, "forget_batch": 8, "retain_batch": 32}
METHODS: dict[str, dict[str, Any]] = {
    "gradient_ascent": LOOP,
    "neg_grad_plus": LOOP | {"retain_share": 0.7},
    "random_labels": LOOP,
    "salun": LOOP,
    "bad_teacher": LOOP,
    "scrub": LOOP,
    "npo": LOOP,
    "l1_sparse": LOOP | {"alpha": 1e-3},
    "label_agnostic": LOOP,
    "ssd": {},
}
FORGETTING = sorted(set(METHODS) - {"l1_sparse", "label_agnostic"})


@dataclass(frozen=True)
class Run:
    """One method's outcome on its own copy of the problem."""

    problem: Problem
    outcome: Unlearned


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_corpus(tmp_path_factory.mktemp("catalog"), 72)


@pytest.fixture(scope="module")
def parent(corpus: Catalog, train_params: TrainParams) -> Clip:
    return make_parent(corpus, train_params)


@pytest.fixture(scope="module")
def run(corpus: Catalog, parent: Clip, train_params: TrainParams) -> Any:
    """Runs a method on a fresh problem, once for all tests that ask for the same."""

    @functools.cache
    def once(name: str, number: int = 0, **values: Any) -> Run:
        problem = make_problem(corpus, parent, train_params)
        return Run(problem, unlearn(problem, name, METHODS[name] | values))

    return once


def matching(model: Clip, problem: Problem) -> tuple[float, float]:
    """Mean probability of the right caption among the problem's captions, of forgotten and of retained pictures."""
    forget, retain = view(model, problem.forget, 64), view(model, problem.retain, 64)
    texts = torch.cat([forget.texts, retain.texts])

    def right(gallery: Gallery, first: int) -> float:
        found = torch.softmax(gallery.scale * gallery.images @ texts.T, dim=1)
        return found[:, first:].diagonal().mean().item()

    return right(forget, 0), right(retain, len(problem.forget))


def state(model: Clip) -> dict[str, Tensor]:
    return model.model.state_dict()


@pytest.mark.parametrize("name", FORGETTING)
def test_forgotten_pairs_no_longer_match(run: Any, parent: Clip, name: str) -> None:
    made = run(name)
    before, _ = matching(parent, made.problem)
    forgotten, retained = matching(made.problem.clip, made.problem)
    assert forgotten < 0.6 * before, (forgotten, before)
    if name != "gradient_ascent":
        assert retained > forgotten, (retained, forgotten)


@pytest.mark.parametrize("name", sorted(METHODS))
def test_same_seed_same_bits_and_statistics_and_temperature_are_left_alone(run: Any, parent: Clip, name: str) -> None:
    values = {} if name == "ssd" else {"steps": 4}
    runs = [run(name, number, **values) for number in range(2)]
    first, second = (state(made.problem.clip) for made in runs)
    changed = 0
    for key, value in state(parent).items():
        assert torch.equal(first[key], second[key]), key
        changed += int((first[key] != value).sum())
        if "running" in key or "num_batches" in key or key == "logit_scale":
            assert torch.equal(first[key], value), key
    assert changed == runs[0].outcome.parameters_changed > 0


def test_the_penalty_shrinks_the_weights_and_ends_at_zero(run: Any) -> None:
    def size(made: Run) -> float:
        return sum(weight.abs().sum().item() for weight in made.problem.clip.model.parameters())

    penalised = run("l1_sparse")
    assert size(penalised) < size(run("l1_sparse", alpha=0.0)) - 100
    rows = penalised.outcome.curve
    assert rows[-1]["sparsity"] < 0.1 * rows[0]["sparsity"]


def test_label_agnostic_moves_forgotten_features_out_of_their_distribution(run: Any, parent: Clip) -> None:
    made = run("label_agnostic")

    def features(model: Clip, forgotten: bool) -> Tensor:
        gallery = view(model, made.problem.forget if forgotten else made.problem.retain, 64)
        return torch.cat([gallery.images, gallery.texts], dim=1).clone()

    moved = [
        (features(made.problem.clip, forgotten) - features(parent, forgotten)).square().sum(dim=1).mean()
        for forgotten in (True, False)
    ]
    assert moved[0] > 2 * moved[1], moved
    rows = made.outcome.curve
    assert rows[-1]["forgetting"] < 2 * rows[0]["forgetting"] < 0


def test_an_autoencoder_knows_its_own_features_from_others() -> None:
    draw = torch.Generator().manual_seed(0)
    basis = torch.randn(3, 24, generator=draw)
    own = torch.nn.functional.normalize(torch.randn(80, 3, generator=draw) @ basis, dim=1)
    other = torch.nn.functional.normalize(torch.randn(80, 24, generator=draw), dim=1)
    model = fit(own, latent=8, seed=0)
    assert model.distance(own).mean() < 0.5 * model.distance(other).mean()


def test_scrub_takes_turns_and_ends_with_repair(run: Any) -> None:
    rows = run("scrub").outcome.curve
    away = [row["forgetting"] != 0 for row in rows]
    assert away[2:8] == [False, False, True, True, False, False]
    assert not any(away[12:])
    assert all((row["retention"] == 0) == climbing for row, climbing in zip(rows[1:], away[1:], strict=True))


def test_first_steps_start_where_the_formulas_say(run: Any) -> None:
    beta = registry.parameters("npo", LOOP).beta
    assert run("npo").outcome.curve[0]["forgetting"] == pytest.approx(2 / beta * math.log(2), rel=1e-4)
    assert run("bad_teacher").outcome.curve[0]["retention"] == pytest.approx(0, abs=1e-4)
    assert run("neg_grad_plus").outcome.curve[0]["forgetting"] <= 0


def test_wrong_partners_are_never_the_right_ones() -> None:
    drawn = np.stack([others(5, 7, np.random.default_rng(seed)) for seed in range(200)])
    assert not (drawn == np.arange(5)).any()
    assert set(drawn.ravel()) == set(range(7))


def test_salun_masks_half_of_the_weights_by_default() -> None:
    assert registry.parameters("salun", LOOP).weights.saliency == 0.5
    assert registry.parameters("random_labels", LOOP).weights.saliency == 1.0


def test_dampening_of_hand_made_fisher_values() -> None:
    of_retain = torch.tensor([1.0, 1.0, 1.0, 0.0, 0.0])
    of_forget = torch.tensor([1.0, 10.0, 20.0, 5.0, 0.0])
    found = dampening(of_forget, of_retain, alpha=10.0, strength=1.0)
    assert found.tolist() == pytest.approx([1, 1, 1 / 20, 0, 1])
    weaker = dampening(of_forget, of_retain, alpha=2.0, strength=15.0)
    assert weaker.tolist() == pytest.approx([1, 1, 15 / 20, 0, 1])


def test_dampening_only_shrinks(run: Any, parent: Clip) -> None:
    after = state(run("ssd").problem.clip)
    for key, value in state(parent).items():
        assert (after[key].abs() <= value.abs()).all(), key
        assert (after[key] * value >= 0).all(), key
