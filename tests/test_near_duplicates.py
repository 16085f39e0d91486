"""Copies of a selected picture are found, its look-alikes are not, and the reviewer decides."""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from bench.planted import CHANGES, encoded
from expunge import clip
from expunge.catalog import Catalog, Sample, Source, write_catalog
from expunge.clip import decode_image
from expunge.config import CatalogParams, LedgerParams
from expunge.errors import ExpungeError
from expunge.ledger import Ledger
from expunge.near_duplicates.search import NearDuplicate, near_duplicates
from expunge.paths import Paths
from expunge.preview import preview
from expunge.preview_page import discard_pages, write_page
from expunge.releases import Release
from expunge.requests import ImageSelector, LikeSample
from expunge.selection import ForgetRow, matches, select
from expunge.sources import open_source
from samples import make_samples

CORPUS = 160
HAND, FLAG, FACE = "openmoji:1F44B-1F3FB", "openmoji:1F1E7-1F1F7", "openmoji:1F98A"


@dataclass(frozen=True)
class Thumbnails:
    """Stands for a model whose embeddings are coarse thumbnails: near for copies, and for many others too."""

    ids: list[str]
    images: np.ndarray
    texts: np.ndarray

    @classmethod
    def of(cls, catalog: Catalog) -> Thumbnails:
        pictures = [decode_image(data, "") for table in catalog.tables() for data in table["image"].to_pylist()]
        return cls(catalog.ids, thumbnails(pictures), np.empty(0))


def thumbnails(pictures: Sequence[Image.Image]) -> np.ndarray:
    flat = np.stack([np.asarray(picture.convert("L").resize((6, 6)), np.float32).ravel() for picture in pictures])
    flat -= flat.mean(axis=1, keepdims=True)
    return flat / np.maximum(np.linalg.norm(flat, axis=1, keepdims=True), 1e-6)


@pytest.fixture(scope="module")
def emoji() -> dict[str, Sample]:
    """Real pictures: a spread over OpenMoji, and all skin tones of one hand."""
    wanted = {FLAG, FACE}
    samples = {sample.sample_id: sample for sample in open_source(CatalogParams(limit=CORPUS)).samples}
    for sample in itertools.islice(open_source(CatalogParams()).samples, 4000):
        if sample.sample_id in wanted or sample.sample_id.startswith(HAND[:14]):
            samples[sample.sample_id] = sample
    return samples


def planted(sample: Sample) -> dict[str, Sample]:
    draw, picture = random.Random(sample.sample_id), decode_image(sample.image, sample.sample_id)
    return {
        (name := f"{change.__name__}:{sample.sample_id}"): replace(
            sample, sample_id=name, concept=name, image=encoded(change(picture, draw))
        )
        for change in CHANGES
    }


@pytest.mark.parametrize("drawn", [HAND, FLAG, FACE])
def test_nine_of_ten_copies_are_found_and_look_alikes_are_not(emoji, tmp_path: Path, drawn: str) -> None:
    copies = planted(emoji[drawn])
    source = Source("planted", "1", "none", "none", [*emoji.values(), *copies.values()])
    catalog = write_catalog(tmp_path, source, 64)
    found = near_duplicates(catalog, {drawn}, set(), Thumbnails.of(catalog), thumbnails, decode_image)
    names = [one.sample_id for one in found]
    assert len(copies.keys() & set(names)) >= 9
    assert set(names) <= copies.keys()
    assert {one.resembles for one in found} == {drawn}
    assert found == near_duplicates(catalog, {drawn}, set(), Thumbnails.of(catalog), thumbnails, decode_image)
