"""The embedding store and the indexes: resumable, exact about their origin, and without what was forgotten."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.corpus.catalog import Catalog
from expunge.corpus.sample import vector_id
from expunge.embeddings.index import build_index, index_ids, read_index, search_index, write_index
from expunge.embeddings.store import Origin, embed_catalog, origin, read_embeddings
from expunge.models import clip
from expunge.models.files import preprocess_digest
from expunge.project.errors import ExpungeError
from expunge.project.files import sha256_file
from formats import corpus, folder_csv
from models import tiny_clip
from samples import make_catalog
from test_sources import build, params_of

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def catalog(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_catalog(tmp_path_factory.mktemp("catalog"))


def embed(folder: Path, catalog: Catalog, seed: int = 0, forgotten: frozenset[str] = frozenset()) -> Origin:
    model = tiny_clip(seed)
    digest = clip.save(model, folder / "model")
    made_from = origin(catalog, model, digest, preprocess_digest(folder / "model"), set(forgotten))
    embed_catalog(folder / "store", catalog, model, made_from, set(forgotten), batch_size=7)
    return made_from


def digests(folder: Path) -> dict[str, str]:
    return {path.name: sha256_file(path) for path in sorted(folder.glob("*.parquet"))}


def test_a_store_holds_unit_vectors_of_every_sample_in_catalog_order(tmp_path: Path, catalog: Catalog) -> None:
    store = read_embeddings(tmp_path / "store", catalog, embed(tmp_path, catalog))
    assert store.ids == catalog.ids
    assert np.allclose(np.linalg.norm(store.images, axis=1), 1, atol=1e-3)
    assert np.allclose(np.linalg.norm(store.texts, axis=1), 1, atol=1e-3)


def test_forgotten_samples_are_not_in_the_store(tmp_path: Path, catalog: Catalog) -> None:
    gone = frozenset(catalog.ids[3:8])
    store = read_embeddings(tmp_path / "store", catalog, embed(tmp_path, catalog, forgotten=gone))
    assert store.ids == [sample_id for sample_id in catalog.ids if sample_id not in gone]


def test_an_interrupted_run_keeps_its_shards_and_ends_with_the_same_bytes(tmp_path: Path, catalog: Catalog) -> None:
    embed(tmp_path, catalog)
    whole = digests(tmp_path / "store")
    shard = catalog.shards[1]
    (tmp_path / "store" / shard.path.name).unlink()
    (tmp_path / "store" / f".{shard.path.name}.x.partial").write_bytes(b"half")
    model = clip.load(tmp_path / "model")
    digests_of_model = clip.model_digest(tmp_path / "model"), preprocess_digest(tmp_path / "model")
    made_from = origin(catalog, model, *digests_of_model, set())
    done = embed_catalog(tmp_path / "store", catalog, model, made_from, set(), batch_size=7)
    assert done[:3] == (shard.rows, shard.rows, len(catalog) - shard.rows)
    assert set(done.seconds) == {"reading", "decoding", "waiting", "encoding", "writing"}
    assert all(seconds > 0 for seconds in done.seconds.values())
    assert digests(tmp_path / "store") == whole
    assert not list((tmp_path / "store").glob(".*"))


def test_one_changed_picture_of_hundreds_means_one_shard_written_and_one_embedded(tmp_path: Path) -> None:
    rows = corpus(300)
    params = params_of(folder_csv(tmp_path / "data", rows), rows_per_shard=32)
    catalog = build(tmp_path, params).catalog
    made_from = embed(tmp_path, catalog)
    path = tmp_path / "data" / "pictures" / rows[150].class_ / f"{rows[150].name}.png"
    path.write_bytes(corpus(301)[-1].picture)
    built = build(tmp_path, params)
    shards = len(catalog.shards)
    assert (built.written, built.kept) == (1, shards - 1)
    changed = next(shard for shard, old in zip(built.catalog.shards, catalog.shards, strict=True) if shard != old)
    model = tiny_clip(0)
    made_from = origin(built.catalog, model, made_from.model, made_from.preprocessing, set())
    done = embed_catalog(tmp_path / "store", built.catalog, model, made_from, set(), batch_size=64)
    assert done[:3] == (changed.rows, changed.rows, 300 - changed.rows)


def test_vectors_of_two_models_in_one_store_are_refused(tmp_path: Path, catalog: Catalog) -> None:
    embed(tmp_path / "a", catalog, seed=0)
    embed(tmp_path / "b", catalog, seed=1)
    name = catalog.shards[1].path.name
    (tmp_path / "b" / "store" / name).replace(tmp_path / "a" / "store" / name)
    with pytest.raises(ExpungeError, match="another model"):
        read_embeddings(tmp_path / "a" / "store", catalog)


def test_vectors_of_another_catalog_are_refused(tmp_path: Path, catalog: Catalog) -> None:
    embed(tmp_path, catalog)
    other = make_catalog(tmp_path / "other", 24, size=20)
    with pytest.raises(ExpungeError, match="another version of the catalog"):
        read_embeddings(tmp_path / "store", other)


def test_a_truncated_store_is_named(tmp_path: Path, catalog: Catalog) -> None:
    embed(tmp_path, catalog)
    shard = tmp_path / "store" / catalog.shards[2].path.name
    shard.write_bytes(shard.read_bytes()[:50])
    with pytest.raises(ExpungeError, match=f"{shard.name} is truncated"):
        read_embeddings(tmp_path / "store", catalog)


@settings(max_examples=30, deadline=None)
@given(st.sets(st.text(min_size=1, max_size=8), min_size=2, max_size=30), st.randoms())
def test_the_id_of_a_vector_comes_from_the_sample_and_not_from_its_row(names: set[str], random: object) -> None:
    ids = sorted(names)
    vectors = np.random.default_rng(0).normal(size=(len(ids), 8)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    order = list(range(len(ids)))
    random.shuffle(order)
    index = build_index([ids[row] for row in order], vectors[order], "Flat")
    found, _ = search_index(index, vectors, 1)
    assert found[:, 0].tolist() == [vector_id(name) for name in ids]
    assert sorted(index_ids(index).tolist()) == sorted(vector_id(name) for name in ids)


def test_an_index_with_the_same_sample_twice_is_refused() -> None:
    with pytest.raises(ExpungeError, match="same vector id"):
        build_index(["a", "a"], np.eye(2, dtype=np.float32), "Flat")


def test_the_same_vectors_give_the_same_index_bytes(tmp_path: Path) -> None:
    vectors = np.random.default_rng(0).normal(size=(50, 8)).astype(np.float32)
    for name in ("a", "b"):
        write_index(build_index([str(row) for row in range(50)], vectors, "Flat"), tmp_path / name)
    assert sha256_file(tmp_path / "a") == sha256_file(tmp_path / "b")


def test_an_unknown_index_type_and_a_damaged_index_get_a_sentence(tmp_path: Path) -> None:
    with pytest.raises(ExpungeError, match="Spiral"):
        build_index(["a", "b"], np.eye(2, dtype=np.float32), "Spiral")
    (tmp_path / "broken.faiss").write_bytes(b"not an index")
    with pytest.raises(ExpungeError, match="damaged"):
        read_index(tmp_path / "broken.faiss")
