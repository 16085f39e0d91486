"""Splits that the catalog draws, and what `catalog` settings do for every source."""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from PIL import Image, ImageDraw

from expunge.corpus.alike import near_identical
from expunge.corpus.fingerprint import ask, must_ask, watched
from expunge.corpus.hashes import packed_hashes
from expunge.corpus.settings import CatalogParams, HoldoutParams
from expunge.corpus.splits import Member, assign, check_calibration
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.selection.forget import check_can_be_judged
from expunge.selection.sets import ForgetRow
from formats import corpus, encoded, folder_csv, table_jsonl
from samples import make_catalog
from test_sources import build, params_of, rows_of

HOLDOUT = HoldoutParams(calibration=0.1, test_concepts=0.1, test_variants=0)
names = st.sampled_from([f"n{number}" for number in range(60)])
members = st.lists(
    st.builds(
        Member,
        sample_id=st.uuids().map(str),
        subject=st.none() | names,
        concept=names,
        variant=st.none(),
        stated=st.none(),
        alike=st.none() | names,
    ),
    min_size=1,
    max_size=150,
)


@settings(max_examples=60, deadline=None)
@given(members, st.randoms(use_true_random=False))
def test_what_shares_a_subject_a_concept_or_a_picture_is_in_one_split_whatever_the_order(found, random) -> None:
    try:
        splits = assign(found, HOLDOUT)
    except ExpungeError:  # too few groups: another test
        assume(False)
    assert set(splits) == {"train", "calibration", "test"}
    of_link: dict[str, set[str]] = {}
    for member, split in zip(found, splits, strict=True):
        for link in member.links:
            of_link.setdefault(link, set()).add(split)
    assert all(len(of_one) == 1 for of_one in of_link.values())
    mixed = list(range(len(found)))
    random.shuffle(mixed)
    again = assign([found[row] for row in mixed], HOLDOUT)
    assert [again[mixed.index(row)] for row in range(len(found))] == splits


def single(number: int, stated=None, **more) -> Member:
    return Member(f"s{number}", None, f"c{number}", None, stated, **more)


def sketch(number: int) -> Image.Image:
    """A few shapes on white, others for every number."""
    draw, image = random.Random(number), Image.new("RGB", (96, 96), "white")
    for _ in range(6):
        left, top = draw.randrange(70), draw.randrange(70)
        box = (left, top, left + draw.randrange(10, 60), top + draw.randrange(10, 60))
        ImageDraw.Draw(image).rounded_rectangle(box, 9, fill=tuple(draw.randrange(256) for _ in range(3)))
    return image


def test_near_identical_pictures_are_found_and_pictures_without_structure_are_not() -> None:
    pictures = [encoded(sketch(number)) for number in range(40)]
    again = encoded(sketch(7).resize((72, 72)), "JPEG", quality=60)
    flat = [encoded(Image.new("RGB", (32, 32), colour)) for colour in ("red", "blue", "green")]
    names = near_identical([packed_hashes(data) for data in (*pictures, again, *flat)])
    assert names[7] == names[40] is not None
    assert [name for row, name in enumerate(names) if row not in (7, 40)] == [None] * 42
    assert near_identical([None, b"\x0f" * 64]) == [None, None]


def test_shares_are_those_of_the_settings() -> None:
    splits = assign([single(number) for number in range(4000)], HOLDOUT)
    assert splits.count("calibration") == pytest.approx(400, abs=60)
    assert splits.count("test") == pytest.approx(400, abs=60)


def test_a_sample_that_comes_later_moves_no_other() -> None:
    before = assign([single(number) for number in range(500)], HOLDOUT)
    assert assign([single(number) for number in range(505)], HOLDOUT)[:500] == before


def test_a_small_corpus_holds_out_enough_to_calibrate_with_and_says_so_where_it_cannot() -> None:
    splits = assign([single(number) for number in range(60)], HOLDOUT)
    assert splits.count("calibration") == 20
    assert splits.count("train") >= 20
    check_calibration({str(row) for row, split in enumerate(splits) if split == "calibration"})
    stated = assign([single(number, "calibration" if number < 9 else "train") for number in range(60)], HOLDOUT)
    assert stated.count("calibration") == 9  # what was trained on elsewhere is not held out here
    with pytest.raises(ExpungeError, match=r"9 samples are held out for calibration, and 20 are needed"):
        check_calibration(set(map(str, range(9))))
    assert assign([single(number) for number in range(30)], HOLDOUT).count("train") >= 20


def test_a_request_that_leaves_too_few_to_judge_by_is_refused_before_anything_is_unlearned(
    tmp_path: Path,
) -> None:
    paths = Paths(tmp_path)
    catalog = make_catalog(paths.catalog, 48, splits=("train", "calibration"))
    held_out = sorted(catalog.split_ids("calibration"))
    rows = [ForgetRow(name, "req-0001", "id", None, "r001") for name in held_out[:5]]
    check_can_be_judged(paths, rows[:4])
    with pytest.raises(ExpungeError, match=r"19 samples are held out for calibration, and 20 are needed"):
        check_can_be_judged(paths, rows)


def test_what_the_source_states_stands_and_a_missing_split_is_drawn_from_training() -> None:
    found = [single(number, "test" if number < 50 else "train") for number in range(300)]
    splits = assign(found, HOLDOUT)
    assert splits[:50] == ["test"] * 50
    assert splits.count("calibration") == pytest.approx(30, abs=1)
    assert "test" not in splits[50:]


@pytest.mark.parametrize(
    ("found", "holdout", "message"),
    [
        ([single(1)], HOLDOUT, "no calibration split"),
        ([single(n, "train") for n in range(9)], HoldoutParams(test_concepts=0), "catalog.holdout.test_concepts"),
        ([single(n, "test") for n in range(9)] + [single(10, "calibration")], HOLDOUT, "no sample to train on"),
    ],
)
def test_a_corpus_that_cannot_be_split_is_refused_before_any_work(found, holdout, message) -> None:
    with pytest.raises(ExpungeError, match=message):
        assign(found, holdout)


def test_a_variant_of_a_trained_concept_may_be_held_out_but_no_person() -> None:
    holdout = HoldoutParams(calibration=0.1, test_concepts=0.1, test_variants=1)
    plain = [Member(f"s{n}", None, f"c{n}", "red", None) for n in range(100)]
    people = [Member(f"p{n}", f"u{n}", f"d{n}", "red", None) for n in range(100)]
    splits = assign([*plain, *people], holdout)
    assert "train" not in splits[:100]
    assert "train" in splits[100:]


def test_the_limit_takes_the_same_samples_whatever_the_format(tmp_path: Path) -> None:
    rows = corpus(48)
    one = build(tmp_path / "a", params_of(table_jsonl(tmp_path / "x", rows), limit=20))
    two = build(tmp_path / "b", params_of(table_jsonl(tmp_path / "y", rows[::-1]), limit=20))
    assert len(one.catalog) == 20
    assert {row["sample_id"] for row in rows_of(one)} == {row["sample_id"] for row in rows_of(two)}
    assert one.intake.offered == 20


def test_languages_image_size_and_columns_are_as_the_settings_say(tmp_path: Path) -> None:
    import json

    table_jsonl(tmp_path / "x", corpus(12))
    lines = [
        {
            "sku": r.name,
            "t_de": f"Ding {r.number}",
            "t_en": f"thing {r.number}",
            "t_pl": "rzecz",
            "url": f"{r.name}.png",
        }
        for r in corpus(12)
    ]
    (tmp_path / "x" / "table.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    said = {
        "source": "table",
        "data": str(tmp_path / "x" / "table.jsonl"),
        "pictures": str(tmp_path / "x" / "pictures"),
    }
    said |= {"map": {"id": "sku", "caption": {"de": "t_de", "en": "t_en", "pl": "t_pl"}}, "languages": ["de", "en"]}
    found = rows_of(build(tmp_path, params_of(said, image_size=16)))
    assert found[0]["sample_id"] == "p000"
    assert [tuple(caption.values()) for caption in found[3]["captions"]] == [("de", "Ding 3"), ("en", "thing 3")]
    from io import BytesIO

    from PIL import Image

    assert {Image.open(BytesIO(row["image"])).size for row in found} == {(16, 16)}
    with pytest.raises(ExpungeError, match=r"catalog\.map\.subject: there is no column 'user'; the source has sku"):
        build(tmp_path, params_of(said | {"map": {"subject": "user"}}))


@pytest.fixture
def bucket(tmp_path: Path) -> Iterator[str]:
    """The folder corpus in a store that is not this machine's disk."""
    folder_csv(tmp_path / "x", corpus(24))
    memory = fsspec.filesystem("memory")
    memory.put(str(tmp_path / "x"), "/bucket", recursive=True)
    yield "memory://bucket"
    memory.rm("/bucket", recursive=True)


def test_a_store_elsewhere_is_read_and_its_changes_are_noticed(bucket: str, tmp_path: Path) -> None:
    said = {"source": "folder", "data": f"{bucket}/pictures", "captions": f"{bucket}/captions.csv"}
    params = params_of(said)
    first = build(tmp_path, params)
    assert len(first.catalog) == 24
    assert build(tmp_path, params).written == 0
    assert must_ask(params)
    assert watched(params) == []
    before = ask(params)
    assert ask(params) == before
    memory = fsspec.filesystem("memory")
    edited = memory.cat("/bucket/captions.csv").replace(b"bird number 5", b"bird number five")
    memory.pipe("/bucket/captions.csv", edited)
    assert {address for address in before if before[address] != ask(params)[address]} == {f"{bucket}/captions.csv"}
    assert build(tmp_path, params).written == 1
    memory.rm(next(path for path in memory.find("/bucket/pictures") if path.endswith("p003.png")))
    assert ask(params)[f"{bucket}/pictures"] != before[f"{bucket}/pictures"]


def test_what_is_not_there_is_said_in_one_sentence(tmp_path: Path) -> None:
    for said in ({"data": str(tmp_path / "gone")}, {"data": "memory://gone"}, {"data": "nowhere://x"}, {}):
        with pytest.raises(ExpungeError) as caught:
            build(tmp_path, params_of({"source": "folder", **said}))
        assert "catalog.data" in str(caught.value)
        assert "\n" not in str(caught.value)
    assert must_ask(CatalogParams(source="folder", data="s3://bucket/x"))
    assert watched(CatalogParams(source="table", data="a/b/*.parquet", pictures="a")) == ["a"]
