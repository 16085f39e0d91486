"""Exact forgetting: what is left equals, to the last digit or bit, what would have been built without the data."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import pytest
import torch

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import match, view
from expunge.exact import sharded
from expunge.exact.probe import Probe
from expunge.exact.sharded import ShardedClip
from expunge.models import clip
from expunge.models.clip import model_digest
from expunge.models.pairs import load_pairs
from expunge.models.retrain import train_from_scratch
from expunge.models.settings import ShardedParams
from expunge.models.slices import load_parts, place, public_share
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from expunge.releases.cut import create_release
from expunge.requests.request import DeletionRequest, IdSelector
from expunge.settings import Params
from expunge.steps.catalog import catalog as catalog_step
from expunge.steps.embed import embed
from expunge.steps.gold import gold
from expunge.steps.select import select_sets
from expunge.steps.train import train as train_step
from expunge.unlearning.release import unlearn_release
from models import TINY
from project import tiny_params
from samples import make_catalog

pytestmark = pytest.mark.slow

SHARDING = ShardedParams(shards=2, slices=2, rank=4, epochs=20, learning_rate=0.01)


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
    return make_catalog(tmp_path_factory.mktemp("catalog"), 72, 64)


@pytest.fixture(scope="module")
def params() -> Params:
    raw = tiny_params(
        seed=0,
        compute={"device": "cpu", "precision": "fp32"},
        model=TINY.model_dump(exclude_none=True),
        train={"epochs": 20, "batch_size": 8, "learning_rate": 0.003, "templates": ["{caption}"], "variant_share": 1.0}
        | {"text_finish": None},
    )
    return Params.model_validate(raw)


@pytest.fixture(scope="module")
def public(corpus: Catalog) -> set[str]:
    return public_share(corpus.split_ids("train"), 0.3)


@pytest.fixture(scope="module")
def trained(corpus: Catalog, params: Params, public: set[str], tmp_path_factory: pytest.TempPathFactory) -> ShardedClip:
    return sharded.train(corpus, params, SHARDING, public, tmp_path_factory.mktemp("checkpoints"))


@pytest.fixture
def ensemble(trained: ShardedClip) -> ShardedClip:
    """One for each test to change; a full copy would train or copy what no deletion touches."""
    mine = copy.copy(trained)
    mine.adapters = [list(adapters) for adapters in trained.adapters]
    mine.shards = list(trained.shards)
    return mine


def in_slice(ensemble: ShardedClip, place: tuple[int, int]) -> list[str]:
    return sorted(sample_id for sample_id in ensemble.private if ensemble.place(sample_id) == place)


def test_deleting_gives_the_bits_of_a_model_that_never_saw_the_samples(
    corpus: Catalog, params: Params, public: set[str], ensemble: ShardedClip, tmp_path: Path
) -> None:
    gone = set(in_slice(ensemble, (0, 1))[:1]) | set(in_slice(ensemble, (1, 0))[:2])
    pairs = load_pairs(corpus, ensemble.backbone)
    before, with_them = ensemble.adapters[0][0], view(ensemble, pairs, 64)
    deletion = ensemble.delete(gone)
    assert deletion.touched == [(0, 1), (1, 0)]
    assert deletion.retrained == [(0, 1), (1, 0), (1, 1)]
    assert deletion.seconds > 0
    assert ensemble.adapters[0][0] is before

    never = sharded.train(corpus, params, SHARDING, public, tmp_path, without=gone)
    found, expected = view(ensemble, pairs, 64), view(never, pairs, 64)
    assert torch.equal(found.images, expected.images)
    assert torch.equal(found.texts, expected.texts)
    assert not torch.equal(found.images, with_them.images)
    for name, value in never.model.state_dict().items():
        assert torch.equal(ensemble.model.state_dict()[name], value), name


def test_dropping_is_enough_to_forget_and_training_again_can_wait(corpus: Catalog, ensemble: ShardedClip) -> None:
    kept = ensemble.adapters[1]
    assert ensemble.drop(set(in_slice(ensemble, (0, 0))[:1])) == [(0, 0)]
    assert ensemble.adapters == [[], kept]
    texts = load_pairs(corpus, ensemble.backbone, ensemble.private).canonical()
    bare, shard = ensemble.backbone.encode_texts(texts), ensemble.shards[1].encode_texts(texts)
    expected = torch.nn.functional.normalize(bare + shard, dim=1)
    assert torch.allclose(ensemble.encode_texts(texts), expected, atol=1e-6)


def test_adapters_learn_what_the_backbone_does_not_know(
    corpus: Catalog, params: Params, public: set[str], ensemble: ShardedClip
) -> None:
    pairs = load_pairs(corpus, ensemble.backbone, ensemble.private)
    alone = ShardedClip(corpus, ensemble.backbone, params, SHARDING, public)
    assert match(view(ensemble, pairs, 64)).loss.mean() < match(view(alone, pairs, 64)).loss.mean() - 0.1


def test_public_samples_cannot_be_deleted_and_unknown_ones_change_nothing(
    ensemble: ShardedClip, public: set[str]
) -> None:
    before = [list(adapters) for adapters in ensemble.adapters]
    with pytest.raises(ExpungeError, match="1 of 1 samples to delete are public"):
        ensemble.delete({min(public)})
    assert ensemble.delete({"sample:9999"}).retrained == []
    assert ensemble.adapters == before


def sliced_params() -> Params:
    sharding = {"shards": 2, "slices": 2, "rank": 2, "epochs": 2, "public_share": 0.4}
    return Params.model_validate(
        tiny_params(compute={"device": "cpu", "precision": "fp32"}, train={"epochs": 3, "sharded": sharding})
    )


@pytest.fixture(scope="module")
def sliced(tmp_path_factory: pytest.TempPathFactory) -> Paths:
    """A project whose base model was trained in slices."""
    paths, params = Paths(tmp_path_factory.mktemp("sliced")), sliced_params()
    paths.live.parent.mkdir()
    acknowledge(paths)
    for step in (catalog_step, train_step, embed):
        step(paths, params, BASE)
    return paths


def by_place(paths: Paths, params: Params) -> dict[tuple[int, int], list[str]]:
    """The samples of every slice, those of the backbone left out."""
    assert params.train.sharded is not None
    trained = Catalog(paths.catalog).split_ids("train")
    found: dict[tuple[int, int], list[str]] = {}
    for sample_id in sorted(trained - public_share(trained, params.train.sharded.public_share)):
        found.setdefault(place(sample_id, params.train.sharded), []).append(sample_id)
    return found


def cut(paths: Paths, params: Params, ids: list[str], method: str, name: str) -> None:
    """Cut a release that forgets samples, and choose its sets."""
    request = DeletionRequest(
        request_id="req-0001",
        selectors=(IdSelector(ids=tuple(ids)),),
        basis="quality",
        received_at="2026-11-01T00:00:00Z",
        due="2026-12-01",
    )
    create_release(paths, [request], method, gold=True, name=name)
    select_sets(paths, params, name)


def test_a_release_trains_the_touched_slices_again_and_is_the_gold_standard_bit_by_bit(sliced: Paths) -> None:
    params = sliced_params()
    gone = by_place(sliced, params)[1, 1][:3]
    cut(sliced, params, gone, "exact", "r001")
    unlearn_release(sliced, params, "r001")
    gold(sliced, params, "r001")
    where = sliced.release("r001")
    assert model_digest(where.model) == model_digest(where.gold)
    assert model_digest(where.model) != model_digest(sliced.release(BASE).model)
    assert read_json(where.unlearning)["steps"] == 1
    before, after, never = (load_parts(folder) for folder in (sliced.release(BASE).model, where.model, where.gold))
    assert after.keys() == never.keys()
    assert all(torch.equal(after[name], value) for name, value in never.items())
    keys = [{name.split("/")[1] for name in parts if name.startswith("slice/")} for parts in (before, after)]
    assert len(keys[0] - keys[1]) == len(keys[1] - keys[0]) == 1


def test_what_a_sample_of_the_first_slice_or_of_the_backbone_costs(sliced: Paths) -> None:
    params, catalog = sliced_params(), Catalog(sliced.catalog)
    known = load_parts(sliced.release(BASE).model)
    first = by_place(sliced, params)[0, 0][0]
    _, curve, _ = train_from_scratch(catalog, params, {first}, sliced.checkpoints, known=known)
    assert len(curve) == 2
    assert params.train.sharded is not None
    public = min(public_share(catalog.split_ids("train"), params.train.sharded.public_share))
    model, curve, _ = train_from_scratch(catalog, params, {public}, sliced.checkpoints, known=known)
    assert len(curve) > 4
    assert not set(model.parts or {}) & set(known)


def test_the_served_model_is_the_backbone_with_the_mean_of_the_shards(sliced: Paths) -> None:
    parts = load_parts(sliced.release(BASE).model)
    name = "transformer.resblocks.0.mlp.c_fc.weight"
    [backbone] = [value for key, value in parts.items() if key.startswith("backbone/") and key.endswith(f"/{name}")]
    updates = [
        parts[key] @ parts[key.removesuffix("up") + "down"]
        for key in parts
        if key.startswith("slice/") and key.endswith(f"/{name}/up")
    ]
    assert len(updates) == 4
    served = clip.load(sliced.release(BASE).model).model.state_dict()[name]
    assert torch.allclose(served, backbone + sum(updates) / 2, atol=1e-6)
    assert not torch.allclose(served, backbone, atol=1e-6)


def test_a_model_that_was_not_trained_in_slices_does_not_forget_exactly(sliced: Paths) -> None:
    params = sliced_params()
    plain = params.model_copy(update={"train": params.train.model_copy(update={"sharded": None})})
    if not sliced.release("r001").description.is_file():
        cut(sliced, params, by_place(sliced, params)[0, 1][:1], "exact", "r001")
    with pytest.raises(ExpungeError, match=r"set train\.sharded"):
        unlearn_release(sliced, plain, "r001")
