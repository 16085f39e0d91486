"""The catalog: what is written is what is read, and a damaged catalog is never read."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.hashes import frames, perceptual_hashes
from expunge.corpus.pictures import decode_image
from expunge.corpus.sample import Caption, Sample, Source
from expunge.project.errors import ExpungeError
from samples import make_catalog, make_samples, png

texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12)
samples = st.lists(
    st.builds(
        Sample,
        sample_id=texts,
        class_=texts,
        superclass=texts,
        subject_id=st.none() | texts,
        concept=texts,
        variant=st.none() | texts,
        split=st.sampled_from(["train", "calibration", "test"]),
        captions=st.lists(st.builds(Caption, texts, texts), min_size=1, max_size=3).map(tuple),
        image=st.binary(min_size=1, max_size=40),
    ),
    min_size=1,
    max_size=12,
    unique_by=lambda sample: sample.sample_id,
)


def write(folder: Path, content: list[Sample], rows: int) -> Catalog:
    return write_catalog(folder, Source("test", "1", "CC0-1.0", "nobody", iter(content)), rows)


@settings(max_examples=40, deadline=None)
@given(samples, st.integers(1, 5))
def test_every_sample_comes_back_unchanged_and_in_order(content: list[Sample], rows: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        catalog = write(Path(folder), content, rows)
        read = [row for table in Catalog(folder).tables() for row in table.to_pylist()]
    assert read == [sample.row() for sample in content]
    assert len(catalog) == len(content)
    assert all(shard.rows <= rows for shard in catalog.shards)


def test_the_same_samples_give_the_same_digest_and_one_changed_byte_another(tmp_path: Path) -> None:
    content = list(make_samples(12))
    digest = write(tmp_path / "a", content, 5).digest
    assert write(tmp_path / "b", content, 5).digest == digest
    changed = [*content[:-1], Sample(**{**vars(content[-1]), "image": png(999)})]
    assert write(tmp_path / "c", changed, 5).digest != digest


def test_two_samples_with_one_id_are_refused(tmp_path: Path) -> None:
    first, *_ = make_samples(1)
    with pytest.raises(ExpungeError, match=r"sample:0000.*unique"):
        write(tmp_path, [first, first], 5)


def test_a_missing_shard_is_named(tmp_path: Path) -> None:
    shard = make_catalog(tmp_path).shards[1].path
    shard.unlink()
    with pytest.raises(ExpungeError, match=f"{shard.name} is missing"):
        Catalog(tmp_path)


def test_a_truncated_shard_is_named(tmp_path: Path) -> None:
    shard = make_catalog(tmp_path).shards[0].path
    shard.write_bytes(shard.read_bytes()[:-100])
    with pytest.raises(ExpungeError, match=f"{shard.name} is truncated"):
        Catalog(tmp_path)


def test_one_flipped_byte_in_a_shard_is_found_before_it_is_read(tmp_path: Path) -> None:
    shard = make_catalog(tmp_path).shards[0].path
    content = bytearray(shard.read_bytes())
    content[len(content) // 2] ^= 1
    shard.write_bytes(content)
    with pytest.raises(ExpungeError, match="digest"):
        _ = Catalog(tmp_path).metadata


def test_an_empty_source_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ExpungeError, match="yields no sample"):
        write(tmp_path, [], 5)


def test_the_catalog_keeps_the_perceptual_hashes_of_every_picture(tmp_path: Path) -> None:
    catalog = make_catalog(tmp_path, 3)
    broken = replace(Sample.of_row(next(catalog.tables()).to_pylist()[0]), sample_id="broken", image=b"not a picture")
    for table in catalog.tables(["hashes", "image"]):
        for row in table.to_pylist():
            picture = decode_image(row["image"], "")
            assert row["hashes"] == np.packbits(perceptual_hashes(frames(picture)), axis=1).tobytes()
    assert broken.row()["hashes"] is None
    assert "hashes" not in catalog.metadata.column_names


def test_pictures_are_read_from_the_shards_that_hold_them_alone(tmp_path: Path, monkeypatch) -> None:
    content = list(make_samples(20))
    catalog, read = write(tmp_path, content, 5), []
    plain = Catalog.read_shard
    monkeypatch.setattr(
        Catalog, "read_shard", lambda self, shard, columns: read.append(columns) or plain(self, shard, columns)
    )
    wanted = {content[7].sample_id, content[2].sample_id}
    found = dict(catalog.pictures(wanted))
    assert found == {sample.sample_id: sample.image for sample in (content[2], content[7])}
    assert list(found) == [content[2].sample_id, content[7].sample_id]
    assert 1 <= sum("image" in columns for columns in read) <= 2 < len(catalog.shards)
