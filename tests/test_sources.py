"""Every format of one's own data: it is read, split, watched for changes, and what is hostile goes into quarantine."""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from PIL import Image

from expunge.corpus.build import Built, Places, build_catalog
from expunge.corpus.fingerprint import watched
from expunge.corpus.records import Mapper
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import SOURCES, open_source
from formats import CAPTIONLESS, CLASSLESS, SUBJECTLESS, WRITERS, Row, corpus, cut_off

Writer = Callable[[Path, list[Row]], dict[str, Any]]
every_format = pytest.mark.parametrize("write", WRITERS, ids=lambda write: write.__name__)


def params_of(said: dict[str, Any], **more: Any) -> CatalogParams:
    return CatalogParams.model_validate({"image_size": 32, "rows_per_shard": 8, **said, **more})


def build(project: Path, params: CatalogParams) -> Built:
    places = Places(project / "catalog", project / "quarantine.parquet", project / "state.json")
    return build_catalog(places, lambda: open_source(params), params, Mapper(params), lambda sample: None, "")


def rows_of(built: Built) -> list[dict[str, Any]]:
    return [row for table in built.catalog.tables() for row in table.to_pylist()]


def quarantined(project: Path) -> dict[str, str]:
    return {row["location"]: row["reason"] for row in pq.read_table(project / "quarantine.parquet").to_pylist()}


def test_every_source_of_ones_own_data_is_examined_here(tmp_path: Path) -> None:
    examined = {write(tmp_path / write.__name__, corpus(12))["source"] for write in WRITERS}
    assert examined | {"openmoji"} == set(SOURCES)


@every_format
def test_a_format_is_read(write: Writer, tmp_path: Path) -> None:
    rows = corpus()
    found = rows_of(build(tmp_path, params_of(write(tmp_path / "data", rows))))
    assert len(found) == len(rows)
    name = write.__name__
    pixels = {Image.open(io.BytesIO(row.picture)).tobytes(): row for row in rows}
    for row in found:
        expected = pixels[Image.open(io.BytesIO(row["image"])).tobytes()]
        assert row["caption"] == (expected.class_ if name in CAPTIONLESS else expected.caption)
        assert row["class"] == ("unlabelled" if name in CLASSLESS else expected.class_)
        assert row["subject_id"] == (None if name in SUBJECTLESS else expected.subject)
        if name == "flickr30k":
            assert [caption["text"] for caption in row["captions"]][1] == f"the same as {expected.number}"
        if name == "cifar100":
            assert row["superclass"] == ("living" if expected.number % 4 < 2 else "made")


@every_format
def test_every_split_is_there_and_no_subject_is_in_two(write: Writer, tmp_path: Path) -> None:
    found = rows_of(build(tmp_path, params_of(write(tmp_path / "data", corpus(60)))))
    splits: dict[str, set[str]] = {}
    for row in found:
        splits.setdefault(row["subject_id"] or row["sample_id"], set()).add(row["split"])
    assert {row["split"] for row in found} == {"train", "calibration", "test"}
    if not write.__name__.startswith("huggingface"):  # its files state splits that cut subjects in two
        assert all(len(of_subject) == 1 for of_subject in splits.values())


@every_format
def test_a_change_is_noticed_and_rewrites_one_shard(write: Writer, tmp_path: Path) -> None:
    rows = corpus(60)
    params = params_of(write(tmp_path / "data", rows))
    first = build(tmp_path, params)
    again = build(tmp_path, params)
    assert (again.written, again.kept) == (0, len(first.catalog.shards))
    assert again.catalog.digest == first.catalog.digest
    before = snapshot(tmp_path / "data")
    other = corpus(97)[-1].picture
    changed = replace(rows[40], picture=other) if write.__name__ in CAPTIONLESS else replace(rows[40], caption="edited")
    write(tmp_path / "data", [*rows[:40], changed, *rows[41:]])
    edited = build(tmp_path, params)
    assert (edited.written, edited.kept) == (1, len(first.catalog.shards) - 1)
    assert edited.catalog.digest != first.catalog.digest
    touched = [path for path, content in snapshot(tmp_path / "data").items() if before.get(path) != content]
    roots = [Path(root) for root in watched(params)]
    assert touched
    assert all(any(path.is_relative_to(root) for root in roots) for path in touched)  # so DVC sees it too
    removed = [row for row in rows if row.number != 40]
    for path in sorted((tmp_path / "data").rglob("p040.png")):
        path.unlink()
    write(tmp_path / "data", removed)
    assert len(build(tmp_path, params).catalog) == 59


def snapshot(folder: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@every_format
def test_what_is_hostile_goes_into_quarantine_and_the_rest_stays(write: Writer, tmp_path: Path) -> None:
    rows = corpus()
    rows[47] = cut_off(rows[47])
    if write.__name__ not in CAPTIONLESS:
        rows[5] = replace(rows[5], caption=" \t ")
        rows[9] = replace(rows[9], caption="long " * 2000)
    built = build(tmp_path, params_of(write(tmp_path / "data", rows), quarantine_limit=0.1))
    reasons = sorted(quarantined(tmp_path).values())
    if write.__name__ in {"flickr30k", *CAPTIONLESS}:  # the other sentence of Flickr's pictures is as it should be
        assert reasons == ["unreadable_picture"]
    else:
        assert reasons == ["caption_too_long", "no_caption", "unreadable_picture"]
    assert len(built.catalog) == len(rows) - len(reasons)
    assert built.intake.quarantined == len(reasons)
