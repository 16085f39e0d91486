"""What is forgotten stays out of later catalogs, from a list that holds no content."""

from __future__ import annotations

import io
import random
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import yaml
from PIL import Image, ImageDraw, ImageEnhance, ImageOps

from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.sample import Sample, Source
from expunge.near_duplicates.suppression import Suppressed, record
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.paths import Paths
from expunge.requests.keys import KEY_VARIABLE
from expunge.selection.sets import ForgetRow, write_forget
from expunge.settings import Params
from expunge.steps.catalog import catalog, still_needed
from project import tiny_params
from samples import make_samples

pytestmark = pytest.mark.slow

FORGOTTEN = ("sample:0000", "sample:0007")


def drawing(seed: int, size: int = 64) -> Image.Image:
    """A picture of a few coloured shapes with black outlines on white, another for every seed."""
    draw = random.Random(seed)
    image = Image.new("RGB", (size, size), "white")
    pen = ImageDraw.Draw(image)
    for _ in range(6):
        left, top = draw.randint(6, 40), draw.randint(6, 40)
        box = (left, top, left + draw.randint(8, 18), top + draw.randint(8, 18))
        fill = tuple(draw.randint(0, 255) for _ in range(3))
        draw.choice([pen.ellipse, pen.rectangle])(box, fill=fill, outline="black", width=2)
    return image


def png(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def drawn(count: int) -> list[Sample]:
    return [replace(sample, image=png(drawing(number))) for number, sample in enumerate(make_samples(count))]


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    """A project of 30 drawings whose release r001 forgets two."""
    paths = Paths(tmp_path)
    write_catalog(paths.catalog, Source("drawings", "1", "CC0-1.0", "nobody", drawn(30)), 8)
    rows = [ForgetRow(name, "req-0001", "id", None, "r001") for name in FORGOTTEN]
    write_forget(paths.release("r001").forget, rows)
    return paths


def test_without_a_release_nothing_is_kept_out(paths: Paths) -> None:
    assert not Suppressed.load(paths)
    assert not Suppressed.load(paths).matches(drawn(1)[0])


def test_a_forgotten_sample_is_known_by_id_content_and_picture(paths: Paths) -> None:
    record(paths, "r001")
    suppressed, samples = Suppressed.load(paths), drawn(30)
    assert {sample.sample_id for sample in samples if suppressed.matches(sample)} == set(FORGOTTEN)
    gone = samples[7]
    assert suppressed.evidence(replace(gone, image=png(drawing(99)))) == "id"
    assert suppressed.evidence(replace(gone, sample_id="new")) == "content"
    assert suppressed.evidence(replace(gone, sample_id="new", captions=samples[3].captions)) == "picture"


@pytest.mark.parametrize(
    "change",
    [
        ImageOps.mirror,
        lambda image: image.resize((128, 128), Image.Resampling.BICUBIC),
        lambda image: ImageOps.expand(image, 8, "black"),
        lambda image: ImageEnhance.Brightness(image).enhance(0.8),
        lambda image: Image.open(io.BytesIO(png(image, "JPEG", quality=50))),
        lambda image: image.crop((3, 3, 61, 61)),
    ],
)
def test_a_changed_copy_under_another_name_is_kept_out(paths: Paths, change: Callable) -> None:
    record(paths, "r001")
    suppressed = Suppressed.load(paths)
    for number, sample in ((0, drawn(1)[0]), (7, drawn(8)[7])):
        copy = replace(
            sample, sample_id=f"copy:{number}", captions=drawn(3)[2].captions, image=png(change(drawing(number)))
        )
        assert suppressed.evidence(copy) == "near-duplicate"


def test_other_newcomers_enter_and_what_stayed_is_not_judged_again(paths: Paths) -> None:
    record(paths, "r001")
    suppressed = Suppressed.load(paths)
    newcomers = [replace(drawn(1)[0], sample_id=f"new:{seed}", image=png(drawing(seed))) for seed in range(100, 140)]
    assert not [sample.sample_id for sample in newcomers if suppressed.matches(sample)]
    twin = png(ImageOps.mirror(drawing(7)))
    assert suppressed.matches(replace(drawn(1)[0], sample_id="new", image=twin))
    assert not suppressed.matches(replace(drawn(11)[10], image=twin))
    sibling = replace(drawn(8)[7], sample_id="new", image=twin, variant="medium")
    assert not suppressed.matches(sibling)
    assert suppressed.matches(replace(sibling, variant=drawn(8)[7].variant))


def test_the_list_holds_no_content_and_is_the_same_when_written_again(paths: Paths) -> None:
    assert record(paths, "r001") == 2
    text = paths.suppression.read_text()
    samples = drawn(8)
    for secret in (*FORGOTTEN, samples[7].content_sha256, samples[7].captions[0].text, "req-0001"):
        assert secret not in text
    purged = [sample for sample in drawn(30) if sample.sample_id not in FORGOTTEN]
    write_catalog(paths.catalog, Source("drawings", "1", "CC0-1.0", "nobody", purged), 30)
    assert record(paths, "r001") == 2
    assert paths.suppression.read_text() == text


def test_another_key_or_a_damaged_list_lets_nothing_back_in(paths: Paths, monkeypatch) -> None:
    record(paths, "r001")
    with monkeypatch.context() as other:
        other.setenv(KEY_VARIABLE, "another secret")
        with pytest.raises(ExpungeError, match="written under another key"):
            Suppressed.load(paths)
    paths.suppression.write_text(paths.suppression.read_text()[:-10])
    with pytest.raises(ExpungeError, match="Restore it from your backup"):
        Suppressed.load(paths)


def test_forgotten_samples_stay_until_the_model_that_learned_them_is_gone(paths: Paths) -> None:
    paths.live.parent.mkdir()
    paths.live.write_text("live: r001\n")
    release = {
        "release": "r001",
        "parent": "base",
        "method": {"name": "finetune"},
        "requests": [
            {
                "request_id": "req-0001",
                "selectors": [{"kind": "id", "ids": list(FORGOTTEN)}],
                "basis": "ccpa",
                "received_at": "2026-11-02T09:00:00Z",
                "due": "2026-12-02",
            }
        ],
    }
    paths.release("r001").folder.mkdir()
    paths.release("r001").description.write_text(yaml.safe_dump(release))
    weights = paths.release("base").model / "model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_bytes(b"")
    assert still_needed(paths) == set(FORGOTTEN)
    weights.unlink()
    assert still_needed(paths) == set()
    assert Catalog(paths.catalog).row_of.keys() >= set(FORGOTTEN)


def test_the_next_catalog_is_built_without_what_is_forgotten_and_says_so(tmp_path: Path, capsys) -> None:
    half = {"calibration": 0.5, "test_concepts": 0.1, "test_variants": 0.1}
    paths, params = Paths(tmp_path), Params(**tiny_params(catalog={"limit": 60, "holdout": half}))
    catalog(paths, params, "base")
    before = Catalog(paths.catalog)
    gone = before.ids[3]
    write_forget(paths.release("r001").forget, [ForgetRow(gone, "req-0001", "id", None, "r001")])
    record(paths, "r001")
    assert Catalog(paths.catalog).digest == before.digest
    catalog(paths, params, "base")
    assert Catalog(paths.catalog).ids == [name for name in before.ids if name != gone]
    assert read_json(paths.kept_out) == [{"sample_id": gone, "evidence": "id"}]
    assert "1 samples kept out as forgotten" in capsys.readouterr().out
