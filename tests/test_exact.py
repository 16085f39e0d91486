"""Exact forgetting: what is left equals, to the last digit or bit, what would have been built without the data."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from expunge import clip
from expunge.catalog import Catalog
from expunge.config import Params
from expunge.errors import ExpungeError
from expunge.evaluation.gallery import match, view
from expunge.exact import sharded
from expunge.exact.probe import Probe
from expunge.exact.sharded import ShardedClip, ShardedParams
from expunge.pairs import load_pairs
from models import TINY
from project import tiny_params
from samples import make_catalog

SHARDING = ShardedParams(shards=2, slices=3, rank=2, epochs=6, learning_rate=0.01)


@pytest.fixture(scope="module")
def rows() -> tuple[np.ndarray, list[str]]:
    draw = np.random.default_rng(0)
    classes = [f"class {number % 5}" for number in range(200)]
    centres = draw.standard_normal((5, 24))
    found = centres[[number % 5 for number in range(200)]] + 0.5 * draw.standard_normal((200, 24))
    return found / np.linalg.norm(found, axis=1, keepdims=True), classes


def test_a_probe_that_forgot_equals_one_fitted_without(rows: tuple[np.ndarray, list[str]]) -> None:
    x, classes = rows
    probe = Probe.fit(x, classes, ridge=0.1).forget(x[:30], classes[:30]).forget(x[30:37], classes[30:37])
    refitted = Probe.fit(x[37:], classes[37:], ridge=0.1)
    np.testing.assert_allclose(probe.weights, refitted.weights, atol=1e-8, rtol=0)
    np.testing.assert_allclose(probe.inverse, refitted.inverse, atol=1e-8, rtol=0)
    assert probe.predict(x) == refitted.predict(x)
    assert np.mean([found == right for found, right in zip(probe.predict(x), classes, strict=True)]) > 0.9


def test_a_probe_that_forgot_a_class_equals_one_that_never_knew_it(rows: tuple[np.ndarray, list[str]]) -> None:
    x, classes = rows
    gone = np.array([name == "class 2" for name in classes])
    probe = Probe.fit(x, classes, ridge=0.1).forget_class(x[gone], "class 2")
    refitted = Probe.fit(x[~gone], [name for name in classes if name != "class 2"], ridge=0.1)
    assert probe.classes == refitted.classes
    np.testing.assert_allclose(probe.weights, refitted.weights, atol=1e-8, rtol=0)


def test_a_probe_refuses_rows_that_it_does_not_hold(rows: tuple[np.ndarray, list[str]]) -> None:
    x, classes = rows
    probe = Probe.fit(x, classes, ridge=1e-6)
    with pytest.raises(ExpungeError, match="not all fitted"):
        probe.forget(10 * x[:1], classes[:1])
    with pytest.raises(ExpungeError, match="not classes of the probe"):
        probe.forget(x[:1], ["class 9"])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("catalog"), 96, 64)


@pytest.fixture(scope="module")
def params() -> Params:
    raw = tiny_params(
        seed=0,
        compute={"device": "cpu", "precision": "fp32"},
        model=TINY.model_dump(exclude_none=True),
        train={"epochs": 6, "batch_size": 8, "learning_rate": 0.003, "templates": ["{caption}"], "variant_share": 1.0},
    )
    return Params.model_validate(raw)


@pytest.fixture(scope="module")
def public(corpus: Catalog) -> set[str]:
    return sharded.public_share(corpus.split_ids("train"), 0.3)


@pytest.fixture
def ensemble(corpus: Catalog, params: Params, public: set[str], tmp_path: Path) -> ShardedClip:
    return sharded.train(corpus, params, SHARDING, public, tmp_path)


def in_slice(ensemble: ShardedClip, place: tuple[int, int]) -> list[str]:
    return sorted(sample_id for sample_id in ensemble.private if ensemble.place(sample_id) == place)


def test_deleting_gives_the_bits_of_a_model_that_never_saw_the_samples(
    corpus: Catalog, params: Params, public: set[str], ensemble: ShardedClip, tmp_path: Path
) -> None:
    gone = set(in_slice(ensemble, (1, 1))[:2]) | set(in_slice(ensemble, (0, 2))[:1])
    before = ensemble.adapters[0][:2] + ensemble.adapters[1][:1]
    with_them = view(ensemble, load_pairs(corpus, ensemble.backbone), 64)
    deletion = ensemble.delete(gone)
    assert deletion.touched == [(0, 2), (1, 1)]
    assert deletion.retrained == [(0, 2), (1, 1), (1, 2)]
    assert deletion.seconds > 0
    untouched = ensemble.adapters[0][:2] + ensemble.adapters[1][:1]
    assert all(after is earlier for after, earlier in zip(untouched, before, strict=True))

    never = sharded.train(corpus, params, SHARDING, public, tmp_path, without=gone)
    pairs = load_pairs(corpus, never.backbone)
    found, expected = view(ensemble, pairs, 64), view(never, pairs, 64)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.texts, expected.texts)
    assert not torch.equal(found.images, with_them.images)


def test_dropping_is_enough_to_forget_and_training_again_can_wait(
    corpus: Catalog, params: Params, public: set[str], ensemble: ShardedClip
) -> None:
    gone = set(in_slice(ensemble, (0, 0))[:1])
    kept = ensemble.adapters[1]
    assert ensemble.drop(gone) == [(0, 0)]
    assert ensemble.adapters == [[], kept]
    pairs = load_pairs(corpus, ensemble.backbone)
    fresh = ShardedClip(corpus, ensemble.backbone, params, SHARDING, public)
    alone = fresh.encode_images(pairs.images(range(4)))
    assert torch.equal(ensemble._answering[0].encode_images(pairs.images(range(4))), ensemble.backbone.encode_images(pairs.images(range(4))))
    assert torch.allclose(alone, ensemble.backbone.encode_images(pairs.images(range(4))), atol=1e-6)
    assert ensemble.complete() == [(0, 0), (0, 1), (0, 2)]


def test_adapters_learn_and_leave_the_backbone_alone(
    corpus: Catalog, params: Params, public: set[str], ensemble: ShardedClip, tmp_path: Path
) -> None:
    alone = ShardedClip(corpus, ensemble.backbone, params, SHARDING, public)
    pairs = load_pairs(corpus, ensemble.backbone, ensemble.private)
    assert view(ensemble, pairs, 64).similarities.mean() > view(alone, pairs, 64).similarities.mean() + 0.02
    assert match(view(ensemble, pairs, 64)).loss.mean() < match(view(alone, pairs, 64)).loss.mean()
    again = sharded.train(corpus, params, SHARDING, public, tmp_path)
    for name, value in again.model.state_dict().items():
        assert torch.equal(ensemble.model.state_dict()[name], value), name
    norms = view(ensemble, pairs, 64).images.norm(dim=1)
    assert torch.allclose(norms, torch.ones_like(norms), atol=1e-5)


def test_public_samples_cannot_be_deleted_and_unknown_ones_change_nothing(
    ensemble: ShardedClip, public: set[str]
) -> None:
    with pytest.raises(ExpungeError, match="1 of 1 samples to delete are public"):
        ensemble.delete({min(public)})
    before = [list(adapters) for adapters in ensemble.adapters]
    assert ensemble.delete({"sample:9999"}).retrained == []
    assert ensemble.adapters == before


def test_a_sample_has_one_place_whatever_else_is_deleted(corpus: Catalog, ensemble: ShardedClip) -> None:
    places = {sample_id: ensemble.place(sample_id) for sample_id in ensemble.private}
    assert set(places.values()) == {(shard, slice_) for shard in range(2) for slice_ in range(3)}
    assert clip.create(TINY, 0).embed_dim == ensemble.encode_texts(["a"]).shape[1]
