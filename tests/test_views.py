"""A release costs what the change costs: what a store holds is taken over, and what is ranked is what is reported."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import faiss
import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.feature_extraction.text import TfidfVectorizer

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import Gallery, match, view
from expunge.embeddings.index import build_index, chosen_factory, exact_search, index_ids, recall_of
from expunge.embeddings.store import Embeddings, Origin, embed_catalog, origin, read_embeddings
from expunge.embeddings.views import Views
from expunge.evaluation.retrieval import recall
from expunge.models.clip import Clip
from expunge.models.loss import sigmoid_losses
from expunge.models.pairs import load_pairs
from expunge.models.towers import tower_digests
from expunge.unlearning.calibration import MOST, TILE, fitted_grams, nearest_cosine
from expunge.unlearning.towers import with_text_tower
from models import tiny_clip
from samples import make_catalog


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("catalog"))


def made_by(catalog: Catalog, model: Clip, forgotten: Iterable[str] = ()) -> Origin:
    return origin(catalog, model, "m" * 64, "p" * 64, set(forgotten))


def store_of(folder: Path, catalog: Catalog, model: Clip, forgotten: Iterable[str] = ()) -> Embeddings:
    made_from = made_by(catalog, model, forgotten)
    embed_catalog(folder, catalog, model, made_from, set(forgotten), 7)
    return read_embeddings(folder, catalog, made_from)


def test_a_change_of_one_tower_changes_its_digest_alone() -> None:
    one, other = tiny_clip(0), tiny_clip(1)
    mixed = with_text_tower(one, other)
    assert tower_digests(mixed).image == tower_digests(one).image
    assert tower_digests(mixed).text == tower_digests(other).text != tower_digests(one).text
    with torch.no_grad():
        mixed.model.logit_scale += 1
    assert tower_digests(mixed) == (tower_digests(one).image, tower_digests(other).text)


def test_a_release_with_the_parents_image_tower_decodes_no_picture(
    tmp_path: Path, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    parent, gone = tiny_clip(0), catalog.ids[3:8]
    release = with_text_tower(parent, tiny_clip(1))
    store_of(tmp_path / "parent", catalog, parent, gone[:2])
    made_from = made_by(catalog, release, gone)
    with monkeypatch.context() as patched:
        patched.setattr("expunge.models.decoding.decode_image", lambda *given: pytest.fail("a picture was decoded"))
        done = embed_catalog(tmp_path / "new", catalog, release, made_from, set(gone), 7, parent=tmp_path / "parent")
    assert done[:3] == (0, len(catalog) - 5, 0)
    assert set(done.seconds) == {"reading", "encoding", "writing"}  # no picture was looked at
    found = read_embeddings(tmp_path / "new", catalog, made_from)
    whole = store_of(tmp_path / "whole", catalog, release, gone)
    assert found.ids == whole.ids
    assert np.abs(found.images.astype(float) - whole.images.astype(float)).max() <= 1e-3
    assert np.array_equal(found.texts, whole.texts)


def test_a_model_that_did_not_change_is_embedded_for_nothing(tmp_path: Path, catalog: Catalog) -> None:
    parent, gone = tiny_clip(0), catalog.ids[:4]
    before = store_of(tmp_path / "parent", catalog, parent)
    made_from = made_by(catalog, parent, gone)
    done = embed_catalog(tmp_path / "new", catalog, parent, made_from, set(gone), 7, parent=tmp_path / "parent")
    assert done[:3] == (0, 0, len(catalog) - 4)
    after = read_embeddings(tmp_path / "new", catalog, made_from)
    assert np.array_equal(after.images, before.images[4:])
    assert np.array_equal(after.texts, before.texts[4:])


def test_embeddings_of_another_tower_or_another_shard_are_not_taken_over(tmp_path: Path, catalog: Catalog) -> None:
    store_of(tmp_path / "parent", catalog, tiny_clip(0))
    other = tiny_clip(1)
    done = embed_catalog(
        tmp_path / "new", catalog, other, made_by(catalog, other), set(), 7, parent=tmp_path / "parent"
    )
    assert done[:3] == (len(catalog), len(catalog), 0)
    changed = make_catalog(tmp_path / "changed", size=20)
    same = tiny_clip(0)
    done = embed_catalog(
        tmp_path / "again", changed, same, made_by(changed, same), set(), 7, parent=tmp_path / "parent"
    )
    assert done[:3] == (len(changed), len(changed), 0)


def test_a_view_from_stores_is_what_encoding_everything_gives(tmp_path: Path, catalog: Catalog) -> None:
    parent, gone = tiny_clip(0), catalog.ids[5:9]
    release = with_text_tower(parent, tiny_clip(1))
    stores = [
        store_of(tmp_path / "parent", catalog, parent, gone[:1]),
        store_of(tmp_path / "new", catalog, release, gone),
    ]
    views, pairs = Views(catalog, stores, 7), load_pairs(catalog, parent)
    for model, encoded in ((parent, (1, 1)), (release, (1, 5)), (tiny_clip(2), (25, 29))):
        seen, whole = views(model), view(model, pairs, 7)
        for found, right in ((seen.images, whole.images), (seen.texts, whole.texts)):
            assert (found.float() - right).abs().max() <= 1e-3
        assert seen.scale == whole.scale
        assert tuple(views.encoded.values()) == encoded


units = st.integers(0, 2**32 - 1)


def gallery(seed: int, count: int, half: bool, bias: float | None) -> Gallery:
    draw = torch.Generator().manual_seed(seed)
    images, texts = (torch.nn.functional.normalize(torch.randn(count, 8, generator=draw), dim=1) for _ in range(2))
    texts = torch.nn.functional.normalize(texts + images, dim=1)
    return Gallery(images.half() if half else images, texts.half() if half else texts, 20.0, bias)


@settings(max_examples=25, deadline=None)
@given(
    seed=units,
    count=st.integers(1, 90),
    tile=st.integers(1, 40),
    half=st.booleans(),
    bias=st.sampled_from([None, -10.0]),
)
def test_ranks_and_losses_in_tiles_are_those_of_the_plain_formula(
    seed: int, count: int, tile: int, half: bool, bias: float | None
) -> None:
    seen = gallery(seed, count, half, bias)
    rows = np.unique(np.random.default_rng(seed).integers(0, count, 12))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("expunge.embeddings.gallery.TILE", tile)
        patched.setattr("expunge.embeddings.gallery.BLOCK", 7)
        found = match(seen, rows)
    images, texts = seen.images.double(), seen.texts.double()
    scores = images @ texts.T
    right = scores.diagonal()
    for rank, table in ((found.image_rank, scores), (found.text_rank, scores.T)):
        assert rank[rows].tolist() == ((table > right[:, None]).sum(dim=1))[rows].tolist()
    loss = [
        torch.logsumexp(20.0 * table, dim=1) - 20.0 * right
        if bias is None
        else sigmoid_losses(20.0 * table + bias, torch.arange(count))
        for table in (scores, scores.T)
    ]
    assert torch.allclose(found.loss[rows].double(), (sum(loss) / 2)[rows], atol=2e-5)
    others = np.setdiff1d(np.arange(count), rows)
    assert found.loss[others].isnan().all()
    if len(others):
        with pytest.raises(ValueError, match="not ranked"):
            recall(found, torch.from_numpy(others))


def test_equal_scores_count_against_the_pair_wherever_they_lie() -> None:
    same = torch.nn.functional.normalize(torch.ones(50, 8), dim=1)
    assert match(Gallery(same, same, 1.0)).image_rank.tolist() == [49] * 50


@settings(max_examples=10, deadline=None)
@given(seed=units)
def test_the_nearest_caption_in_tiles_is_that_of_the_whole_product(seed: int) -> None:
    from scipy.sparse import random as sparse

    draw = np.random.default_rng(seed)
    queries, vectors = (sparse(n, 40, 0.2, "csr", np.float32, draw) for n in (30, 70))
    with pytest.MonkeyPatch.context() as patched:
        patched.setattr("expunge.unlearning.calibration.QUERIES", 9)
        found = nearest_cosine(queries, (vectors[start : start + 16] for start in range(0, 70, 16)))
    assert np.array_equal(found, (queries @ vectors.T).max(axis=1).toarray().ravel())
    assert MOST < TILE * 2


def vectors_about(centres: int, count: int) -> tuple[list[str], np.ndarray]:
    draw = np.random.default_rng(0)
    middle = draw.normal(size=(centres, 32))
    made = middle[draw.integers(0, centres, count)] + 0.7 * draw.normal(size=(count, 32))
    return [str(row) for row in range(count)], (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float16)


def test_an_index_is_exact_up_to_a_size_and_keeps_its_promise_beyond(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [chosen_factory(count) for count in (100_000, 1_000_000, 20_000_000)] == [
        "Flat",
        "IVF1024,SQfp16",
        "IVF4096_HNSW32,SQ8",
    ]
    ids, vectors = vectors_about(60, 3000)
    nearest = exact_search(ids, vectors)
    assert recall_of(build_index(ids, vectors, "auto"), nearest) > 0.999
    monkeypatch.setattr("expunge.embeddings.index.EXACT", 1000)
    index = build_index(ids, vectors, "auto", nearest)
    assert 0.98 <= recall_of(index, nearest) <= 1
    assert sorted(index_ids(index).tolist()) == sorted(index_ids(build_index(ids, vectors, "Flat")).tolist())
    assert recall_of(build_index(ids, vectors, "IVF64,Flat"), nearest) < 0.98  # one list alone is not enough
    faiss.extract_index_ivf(index).make_direct_map()
    kept = np.stack([index.reconstruct(int(key)) for key in index_ids(index)[:50]])
    assert np.array_equal(kept.astype(np.float16), vectors[:50])  # as they are, bit by bit


@settings(max_examples=10, deadline=None)
@given(captions=st.lists(st.text(st.characters(codec="utf-8"), min_size=1).filter(str.strip), min_size=1))
def test_character_grams_counted_caption_by_caption_weigh_what_they_weigh_all_at_once(captions: list[str]) -> None:
    whole = TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 4), sublinear_tf=True, dtype=np.float32)
    expected = whole.fit_transform(captions)
    assert np.array_equal(fitted_grams(captions).transform(captions).toarray(), expected.toarray())
