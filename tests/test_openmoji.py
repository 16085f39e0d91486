"""The embedded corpus is complete, classified by its stated rule, and its splits keep their promise."""

from __future__ import annotations

from collections import Counter, defaultdict

import pytest

from expunge.corpus.sample import Sample, Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import open_source


@pytest.fixture(scope="module")
def source() -> Source:
    return open_source(CatalogParams(image_size=16))


@pytest.fixture(scope="module")
def corpus(source: Source) -> list[Sample]:
    return list(source.samples)


def test_every_named_picture_is_there_with_a_class(corpus: list[Sample]) -> None:
    assert len(corpus) == 3953
    assert len({sample.sample_id for sample in corpus}) == 3953
    assert all(sample.class_ and sample.superclass and sample.captions for sample in corpus)
    assert sum(sample.variant is None for sample in corpus) == 1918
    assert Counter(sample.class_ for sample in corpus)["food-fruit"] == 20


@pytest.mark.parametrize(
    ("sample_id", "class_name"),
    [
        ("openmoji:1F1E8-1F1F6", "country-flag"),
        ("openmoji:1F9B2", "hair-style"),
        ("openmoji:1F469-1F3FC-200D-1FAEF-200D-1F469-1F3FF", "person-sport"),
        ("openmoji:1FACD", "animal-marine"),
    ],
)
def test_pictures_that_the_table_does_not_list_follow_the_stated_rule(
    corpus: list[Sample], sample_id: str, class_name: str
) -> None:
    assert next(sample.class_ for sample in corpus if sample.sample_id == sample_id) == class_name


def test_held_out_concepts_share_no_picture_with_training(corpus: list[Sample]) -> None:
    splits = defaultdict(set)
    for sample in corpus:
        splits[sample.concept].add(sample.split)
    assert not any("calibration" in found and len(found) > 1 for found in splits.values())
    counts = Counter(sample.split for sample in corpus)
    assert counts["train"] > 0.85 * len(corpus)
    assert any(found == {"test"} for found in splits.values()), "no concept is held out whole"
    assert any(found == {"train", "test"} for found in splits.values()), "no variant of a trained concept is held out"


def test_captions_come_in_several_languages_english_first(corpus: list[Sample]) -> None:
    apple = next(sample for sample in corpus if sample.sample_id == "openmoji:1F34E")
    assert apple.captions[0] == ("en", "red apple")
    assert {"de", "es", "fr", "zh"} <= {caption.language for caption in apple.captions}


def test_credit_and_licence_travel_with_the_source(source: Source) -> None:
    assert source.license == "CC BY-SA 4.0"
    assert "OpenMoji" in source.credit
