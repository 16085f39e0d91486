"""Copies of a selected picture are found, its look-alikes are not, and the reviewer decides."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image
from typer.testing import CliRunner

from bench.planted import CHANGES, encoded
from expunge.cli import request as app
from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.pictures import decode_image
from expunge.corpus.sample import Sample, Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import open_source
from expunge.models import clip
from expunge.near_duplicates.find import NearDuplicate, near_duplicates
from expunge.project.errors import ExpungeError
from expunge.project.files import sha256_bytes
from expunge.project.paths import Paths
from expunge.releases.release import Release
from expunge.requests.ledger import Ledger
from expunge.requests.settings import LedgerParams
from expunge.selection.match import matches, select
from expunge.settings import Params
from expunge.steps.embed import embed
from models import tiny_clip
from project import tiny_params, write_params

pytestmark = pytest.mark.slow

CORPUS = 160
DRAWN = ("openmoji:1F44A-1F3FF", "openmoji:1F1EE-1F1F6", "openmoji:1F427")
"""A hand, a flag, a penguin."""


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
    """Real pictures, spread over OpenMoji."""
    return {sample.sample_id: sample for sample in open_source(CatalogParams(limit=CORPUS, image_size=64)).samples}


def planted(sample: Sample) -> dict[str, Sample]:
    draw, picture = random.Random(sample.sample_id), decode_image(sample.image, sample.sample_id)
    return {
        (name := f"{change.__name__}:{sample.sample_id}"): replace(
            sample, sample_id=name, concept=name, image=encoded(change(picture, draw))
        )
        for change in CHANGES
    }


def search(folder: Path, samples: Iterable[Sample], drawn: str) -> list[NearDuplicate]:
    catalog = write_catalog(folder, Source("planted", "1", "none", "none", samples), 64)
    return near_duplicates(catalog, {drawn}, set(), Thumbnails.of(catalog), thumbnails, decode_image)


@pytest.mark.parametrize("drawn", DRAWN)
def test_nine_of_ten_copies_are_found_and_look_alikes_are_not(emoji, tmp_path: Path, drawn: str) -> None:
    copies = planted(emoji[drawn])
    found = search(tmp_path, [*emoji.values(), *copies.values()], drawn)
    names = {one.sample_id for one in found}
    assert len(names) >= 9
    assert names <= copies.keys()
    assert {one.resembles for one in found} == {drawn}


def test_another_declared_variant_is_no_copy_and_the_answer_is_always_the_same(emoji, tmp_path: Path) -> None:
    hand = emoji[DRAWN[0]]
    copies = planted(hand)
    variant = replace(copies["recolour:" + hand.sample_id], concept=hand.concept, variant="another")
    samples = [hand, variant, copies["mirror:" + hand.sample_id], copies["crop:" + hand.sample_id]]
    found = search(tmp_path / "a", samples, hand.sample_id)
    assert [one.sample_id.partition(":")[0] for one in found] == ["mirror", "crop"]
    assert found[0].reason == (
        f"near-duplicate of {hand.sample_id} (embedding 1.00, hash 0 of 256 bits, difference 0 of 255)"
    )
    again = search(tmp_path / "b", samples[::-1], hand.sample_id)
    assert [(one.sample_id, one.difference) for one in again] == [(one.sample_id, one.difference) for one in found]


# --- the reviewer ------------------------------------------------------------------------------------------------


@pytest.fixture
def project(emoji, tmp_path: Path, monkeypatch) -> Paths:
    """A project folder as working directory: thirty emoji, copies of one of them, a model and its embeddings."""
    paths, params = Paths(tmp_path), Params(**tiny_params())
    samples = [*list(emoji.values())[:30], emoji[DRAWN[2]], *planted(emoji[DRAWN[2]]).values()]
    samples = [replace(sample, split="train") for sample in samples]
    write_catalog(paths.catalog, Source("planted", "1", "none", "none", samples), 64)
    clip.save(tiny_clip(), paths.release("base").model)
    embed(paths, params, "base")
    write_params(tmp_path, tiny_params(ledger={"seed": None}))
    monkeypatch.chdir(tmp_path)
    return paths


def expunge_request(*arguments: str) -> str:
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0, result.output
    return result.stdout


def test_the_reviewers_choice_is_recorded_frozen_and_selected(project: Paths) -> None:
    expunge_request("add", "--id", DRAWN[2], "--basis", "ccpa")
    shown = json.loads(expunge_request("preview", "req-0001", "--json"))
    page = project.preview_page("req-0001")
    names = {one["sample_id"] for one in shown["near_duplicates"]["shown"]}
    mirrored, cropped = f"mirror:{DRAWN[2]}", f"crop:{DRAWN[2]}"
    assert {mirrored, cropped} <= names
    assert all(f"<figcaption>{name}</figcaption>" in page.read_text() for name in names)
    assert page.parent.stat().st_mode & 0o077 == 0
    with pytest.raises(ExpungeError, match="showed no near-duplicate 'other'"):
        expunge_request("approve", "req-0001", "--include", "other")
    taken = sorted(names - {cropped})
    expunge_request("approve", "req-0001", *(word for name in taken for word in ("--include", name)))
    ledger = Ledger.open(LedgerParams(seed=None), project.root)
    assert ledger.history("req-0001")[-1].payload["excluded"] == [cropped]
    request = ledger.approved_unserved()[0]
    frozen = Release(release="r001", parent="base", method={"name": "finetune"}, requests=[request])
    thawed = Release.model_validate(yaml.safe_load(yaml.safe_dump(frozen.model_dump(mode="json")))).requests
    rows = select(Catalog(project.catalog), thawed, "r001")
    assert {row.sample_id for row in rows} == {DRAWN[2], *names} - {cropped}
    reasons = {row.sample_id: row.reason for row in rows}
    assert reasons[DRAWN[2]] == "id"
    assert reasons[mirrored].startswith(f"near-duplicate of {DRAWN[2]} (embedding 1.00")
    assert thawed[0].digest == ledger.get("req-0001").approved_digest
    assert ledger.verify_chain()


@pytest.mark.parametrize("previewed", [True, False])
def test_nothing_is_taken_along_that_nobody_said_yes_to(project: Paths, previewed: bool) -> None:
    expunge_request("add", "--id", DRAWN[2], "--basis", "ccpa")
    if previewed:
        expunge_request("preview", "req-0001")
    expunge_request("approve", "req-0001")
    request = Ledger.open(LedgerParams(seed=None), project.root).approved_unserved()[0]
    assert [row.sample_id for row in select(Catalog(project.catalog), [request], "r001")] == [DRAWN[2]]


def test_a_decided_request_leaves_no_picture_behind(project: Paths) -> None:
    for number, decision in ((1, "reject"), (2, "withdraw")):
        expunge_request("add", "--id", DRAWN[2], "--basis", "ccpa")
        expunge_request("preview", f"req-000{number}")
        assert project.preview_page(f"req-000{number}").is_file()
        expunge_request(decision, f"req-000{number}", "--reason", "a mistake")
        assert not project.preview_page(f"req-000{number}").exists()


def test_an_example_picture_selects_what_is_like_it_and_is_kept_nowhere(project: Paths, emoji) -> None:
    example = project.root / "example.png"
    example.write_bytes(emoji[DRAWN[2]].image)
    expunge_request("add", "--image", str(example), "--min-score", "0.9999", "--basis", "ccpa")
    request = Ledger.open(LedgerParams(seed=None), project.root).get("req-0001").request
    found = matches(Catalog(project.catalog), request.selectors)
    assert DRAWN[2] in found
    assert found[DRAWN[2]].reason == "image ~ score 1.00 >= 0.9999"
    ledger = (project.root / "data" / "ledger.db").read_bytes()
    assert sha256_bytes(emoji[DRAWN[2]].image).encode() not in ledger
    assert emoji[DRAWN[2]].image[:64] not in ledger
    example.write_bytes(b"GIF89a not a picture")
    with pytest.raises(ExpungeError, match="image of the example cannot be decoded"):
        expunge_request("add", "--image", str(example), "--basis", "ccpa")
