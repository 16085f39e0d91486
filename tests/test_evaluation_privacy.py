"""Attacks find what is there to be found, and nothing where nothing is."""

from __future__ import annotations

from dataclasses import replace
from statistics import NormalDist

import numpy as np
import pytest
import torch
from sklearn.metrics import roc_auc_score
from torch.nn.functional import cross_entropy, normalize

from expunge.embeddings.gallery import Gallery, match, view
from expunge.evaluation import membership
from expunge.evaluation.measure import Measured
from expunge.evaluation.relearning import relearn_shots, relearn_steps
from expunge.evaluation.roc import assess
from expunge.evaluation.settings import RelearnParams
from expunge.examination import old_model
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs
from expunge.models.settings import ComputeParams, TrainParams
from expunge.models.training import train
from expunge.project.errors import ExpungeError
from models import TINY
from samples import make_catalog

pytestmark = pytest.mark.slow

COMPUTE = ComputeParams(device="cpu", precision="fp32")


def random_gallery(count: int, width: int, seed: int) -> Gallery:
    draw = torch.Generator().manual_seed(seed)
    images = torch.randn(count, width, generator=draw, dtype=torch.float64)
    texts = images + torch.randn(count, width, generator=draw, dtype=torch.float64)
    return Gallery(normalize(images, dim=1), normalize(texts, dim=1), 4.0)


def seen(gallery: Gallery) -> Measured:
    return Measured({}, gallery, torch.zeros(len(gallery.images), dtype=torch.bool), match(gallery))


# ROC figures ----------------------------------------------------------------------------------------------------------


def test_figures_agree_with_scikit_learn_and_with_counting() -> None:
    draw = np.random.default_rng(0)
    positives, negatives = draw.integers(0, 9, 150) + 2, draw.integers(0, 9, 230)
    found = assess(positives, negatives, seed=0)
    label = np.repeat([1, 0], [150, 230])
    assert found.auc == pytest.approx(roc_auc_score(label, np.concatenate([positives, negatives])))
    rates = [(positives >= limit).mean() for limit in range(12) if (negatives >= limit).mean() <= 0.01]
    assert found.tpr_at_1_percent_fpr == pytest.approx(max(rates))
    assert assess(positives, negatives, seed=0) == found
    assert assess(positives, negatives, seed=1) != found


def test_intervals_hold_the_truth_as_often_as_they_say() -> None:
    truth, hits = NormalDist().cdf(1 / 2**0.5), 0
    for seed in range(60):
        draw = np.random.default_rng(seed)
        low, high = assess(draw.normal(1, 1, 80), draw.normal(0, 1, 120), seed).auc_interval
        hits += low <= truth <= high
        assert 0.05 < high - low < 0.2
    assert 51 <= hits <= 60


def test_a_perfect_and_an_empty_attack() -> None:
    found = assess(np.array([2.0, 3.0]), np.array([0.0, 1.0]), seed=0)
    assert (found.auc, found.tpr_at_1_percent_fpr, found.auc_interval) == (1, 1, (1, 1))
    with pytest.raises(ExpungeError, match="one of the two sets is empty"):
        assess(np.array([1.0]), np.array([]), seed=0)


# Membership -----------------------------------------------------------------------------------------------------------


def test_gradients_are_those_of_the_pairs_loss() -> None:
    gallery = random_gallery(7, 5, 0)
    found = membership.embedding_gradients(gallery)
    for row in range(7):
        own = [gallery.images[row].clone().requires_grad_(), gallery.texts[row].clone().requires_grad_()]
        images, texts = gallery.images.clone(), gallery.texts.clone()
        images[row], texts[row] = normalize(own[0], dim=0), normalize(own[1], dim=0)
        logits, target = gallery.scale * images @ texts.T, torch.tensor(row)
        loss = (cross_entropy(logits[row], target) + cross_entropy(logits[:, row], target)) / 2
        changed = replace(gallery, images=images.detach(), texts=texts.detach())
        assert loss.item() == pytest.approx(match(changed).loss[row].item())
        loss.backward()
        for exact, closed in zip(own, found, strict=True):
            assert torch.allclose(exact.grad, closed[row], atol=1e-9)


# One corpus, a model of all of it and a model of all but the forget set -----------------------------------------------


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    catalog = make_catalog(tmp_path_factory.mktemp("catalog"), 72, 96)
    return load_pairs(catalog, clip.create(TINY, 0))


FORGET, RETAIN, NEVER_SEEN = np.arange(0, 8), np.arange(8, 54), np.arange(54, 72)


def trained_on(pairs: Pairs, rows: np.ndarray, recipe: TrainParams) -> Clip:
    clip.configure(COMPUTE)
    model = clip.create(TINY, 0)
    columns = {name: [getattr(pairs, name)[row] for row in rows] for name in ("ids", "classes", "variants", "captions")}
    recipe = recipe.model_copy(update={"epochs": 100})
    train(model, Pairs(**columns, pixels=pairs.pixels[rows]), recipe, COMPUTE, 0)
    return model


@pytest.fixture(scope="module")
def original(pairs: Pairs, train_params: TrainParams) -> Clip:
    return trained_on(pairs, np.concatenate([FORGET, RETAIN]), train_params)


@pytest.fixture(scope="module")
def gold(pairs: Pairs, train_params: TrainParams) -> Clip:
    return trained_on(pairs, RETAIN, train_params)


def test_every_signal_tells_members_until_they_are_gone(pairs: Pairs, original: Clip, gold: Clip) -> None:
    for model, told in ((original, True), (gold, False)):
        gallery = view(model, pairs, 96)
        matches = match(gallery)
        found = membership.attacks(gallery, matches, FORGET, NEVER_SEEN, seed=0)
        assert set(found) == {"loss", "similarity", "gradient"}
        rows = torch.from_numpy(FORGET), torch.from_numpy(NEVER_SEEN)
        assert found["loss"].auc == pytest.approx(membership.attack_auc(matches, *rows))
        for name, attack in found.items():
            assert (attack.auc > 0.9) == told, (name, attack)


def hidden(model: Clip, pairs: Pairs) -> Clip:
    """`model` with the knowledge still there but out of sight: pushed off the forgotten pairs until it finds none."""
    copy = model.clone()
    optimizer = torch.optim.SGD(copy.model.parameters(), lr=0.002)
    while (match(view(copy, pairs, 96)).image_rank[FORGET] == 0).any():
        images = copy.encode_pixels(pairs.images(FORGET))
        texts = copy.encode_tokens(copy.tokenizer(pairs.canonical(FORGET)))
        optimizer.zero_grad()
        (images * texts).sum(dim=1).mean().backward()
        optimizer.step()
    return copy


def test_relearning_tells_hidden_from_gone(pairs: Pairs, original: Clip, gold: Clip) -> None:
    params = RelearnParams(max_steps=20, learning_rate=1e-3)
    steps = {}
    for name, model in (("original", original), ("hidden", hidden(original, pairs)), ("gold", gold)):
        steps[name] = relearn_steps(model, view(model, pairs, 96), pairs, FORGET, RETAIN, 0.25, params, COMPUTE, 0)
    assert steps["original"] == 0 < steps["hidden"] < steps["gold"] / 2


def test_no_shot_brings_back_what_was_never_there(pairs: Pairs, original: Clip, gold: Clip) -> None:
    params = RelearnParams(shot_steps=5, learning_rate=1e-3)
    before = [weight.clone() for weight in gold.model.parameters()]
    found = {
        name: relearn_shots(model, view(model, pairs, 96), pairs, FORGET, RETAIN, 0.25, params, COMPUTE, 0)
        for name, model in (("original", original), ("gold", gold))
    }
    assert found["original"].needed == 0
    assert found["gold"].needed == len(FORGET) + 1
    assert list(found["gold"].recall) == [0, 1, 2, 4]
    assert all(torch.equal(*both) for both in zip(before, gold.model.parameters(), strict=True))


# The attacker with the old model --------------------------------------------------------------------------------------


def test_a_rotation_of_the_space_is_no_change() -> None:
    old = random_gallery(60, 8, 0)
    turn = torch.linalg.qr(torch.randn(8, 8, generator=torch.Generator().manual_seed(1), dtype=torch.float64)).Q
    turned = replace(old, images=old.images @ turn, texts=old.texts @ turn)
    for name, change in old_model.changes(seen(old), seen(turned)).items():
        assert np.abs(change).max() < 1e-9, name


def test_the_old_model_betrays_what_the_update_touched() -> None:
    old = random_gallery(120, 8, 0)
    jitter = random_gallery(120, 8, 1)
    forgotten, others = np.arange(10), {"never_seen": np.arange(10, 50), "retained": np.arange(50, 120)}

    def updated(rows: np.ndarray) -> Measured:
        """Images nudged everywhere, and the captions of `rows` turned round."""
        texts = old.texts.clone()
        texts[rows] = -texts[rows]
        return seen(replace(old, images=normalize(old.images + 0.02 * jitter.images, dim=1), texts=texts))

    touched, untouched = updated(forgotten), updated(np.arange(0))
    found = old_model.compare(seen(old), touched, untouched, forgotten, others, seed=0)
    assert set(found) == set(others)
    for by_signal in found.values():
        for name, attack in by_signal.items():
            assert attack["unlearned"]["auc"] > 0.95, name
            assert 0.2 < attack["retrained"]["auc"] < 0.8, name
            assert attack["excess_auc"] == attack["unlearned"]["auc"] - attack["retrained"]["auc"]
    alone = old_model.compare(seen(old), touched, None, forgotten, others, seed=0)["retained"]["loss"]
    assert alone["retrained"] is None
    assert alone["excess_auc"] is None
    assert alone["unlearned"] == found["retained"]["loss"]["unlearned"]
