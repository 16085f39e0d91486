"""A model on disk is what plain open_clip reads, and a model that does not fit is refused in one sentence."""

from __future__ import annotations

import io
import json
import os
import struct
import subprocess
import sys
import zlib
from pathlib import Path
from typing import Literal

import numpy as np
import pytest
import torch
from PIL import Image

from expunge.corpus.pictures import decode_image
from expunge.models import clip
from expunge.project.errors import ExpungeError
from expunge.project.reading import read_plain
from models import TINY, tiny_clip
from samples import png

pytestmark = pytest.mark.slow


def test_plain_open_clip_loads_a_saved_model_with_the_same_weights_and_preprocessing(tmp_path: Path) -> None:
    import open_clip

    saved = tiny_clip()
    clip.save(saved, tmp_path)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    image = decode_image(png(7, 50), "seven")
    assert torch.equal(preprocess(image), saved.preprocess(image))
    assert torch.equal(tokenizer(["a red apple"]), saved.tokenizer(["a red apple"]))
    for name, tensor in saved.model.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor), name


def test_saving_the_same_model_twice_gives_the_same_digest(tmp_path: Path) -> None:
    assert clip.save(tiny_clip(), tmp_path / "a") == clip.save(tiny_clip(), tmp_path / "b")


def test_eight_bit_pixels_survive_preprocessing_exactly() -> None:
    model = tiny_clip()
    pixels = torch.randint(0, 256, (3, 32, 32), dtype=torch.uint8, generator=torch.Generator().manual_seed(0))
    assert torch.equal(model.to_uint8(model.normalise(pixels[None])[0]), pixels)


@pytest.mark.parametrize("mode", ["shortest", "longest", "squash"])
def test_pixels_taken_straight_are_those_of_preprocessing(mode: Literal["shortest", "longest", "squash"]) -> None:
    values = {"mean": (0.48, 0.46, 0.41), "std": (0.27, 0.26, 0.28), "resize_mode": mode}
    model = clip.create(TINY.model_copy(update=values), seed=0)
    assert len(model.preprocess.transforms) > 2
    draw = np.random.default_rng(0)
    for width, height in ((32, 32), (50, 33), (20, 90)):
        image = Image.fromarray(draw.integers(0, 256, (height, width, 3), np.uint8))
        assert torch.equal(model.pixels(image), model.to_uint8(model.preprocess(image)))


def test_a_model_that_does_not_fit_its_config_is_refused(tmp_path: Path) -> None:
    clip.save(tiny_clip(), tmp_path)
    config = json.loads((tmp_path / clip.CONFIG).read_text())
    config["model_cfg"]["embed_dim"] = 24
    (tmp_path / clip.CONFIG).write_text(json.dumps(config))
    with pytest.raises(ExpungeError, match="does not fit"):
        clip.load(tmp_path)


def test_truncated_weights_are_refused(tmp_path: Path) -> None:
    clip.save(tiny_clip(), tmp_path)
    weights = tmp_path / clip.WEIGHTS
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(ExpungeError, match="truncated or damaged"):
        clip.load(tmp_path)


@pytest.mark.parametrize("data", [b"", b"not a picture", png(1)[:40]])
def test_bytes_that_are_no_picture_are_refused(data: bytes) -> None:
    with pytest.raises(ExpungeError, match="sample:0001"):
        decode_image(data, "sample:0001")


def test_a_picture_that_unpacks_to_gigabytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("expunge.corpus.pictures.MAX_PIXELS", 100)
    with pytest.raises(ExpungeError, match="over the limit"):
        decode_image(png(1, 16), "sample:0001")


def encoded(kind: str) -> bytes:
    stream = io.BytesIO()
    Image.new("RGB", (8, 8), "red").save(stream, kind)
    return stream.getvalue()


def declared(width: int, height: int) -> bytes:
    """A PNG that says that it has so many pixels, and holds none of them."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize(
    "data",
    [
        declared(60_000, 60_000),
        declared(10_000, 8_000),
        declared(2**31 - 1, 2**31 - 1),
        b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 10 10\n%%EndComments\nshowpage\n",
        *(encoded(kind) for kind in ("EPS", "DDS", "PDF", "ICO", "PPM", "TGA")),
    ],
)
def test_bombs_and_formats_that_no_data_set_holds_are_refused(data: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: pytest.fail("a decoder started a program"))
    with pytest.raises(ExpungeError, match="sample:0001"):
        decode_image(data, "sample:0001")


@pytest.mark.parametrize("kind", ["BMP", "GIF", "JPEG", "PNG", "TIFF", "WEBP"])
def test_the_formats_of_data_sets_are_read(kind: str) -> None:
    assert decode_image(encoded(kind), "x").size == (8, 8)


def test_a_device_and_a_pipe_are_not_read_as_pictures(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (Path("/dev/zero"), tmp_path / "pipe"):
        with pytest.raises(ExpungeError, match="not an ordinary file"):
            read_plain(path, 100)


def test_the_library_needs_neither_prefect_nor_dvc() -> None:
    script = (
        "import sys, expunge.models.clip, expunge.models.training, expunge.unlearning.loop;"
        "import expunge.steps.evaluate, expunge.embeddings.index;"
        "sys.exit(any(name.split('.')[0] in ('prefect', 'dvc') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0


@pytest.mark.slow
def test_plain_open_clip_builds_every_architecture_after_complete() -> None:
    """In an interpreter of its own, where nothing else has imported timm or transformers."""
    code = """
from expunge.models.network import complete
import open_clip
assert open_clip.timm_model.timm is None and open_clip.hf_model.transformers is None
complete()
assert open_clip.model.TimmModel is open_clip.timm_model.TimmModel and open_clip.timm_model.timm is not None
assert open_clip.model.HFTextEncoder is open_clip.hf_model.HFTextEncoder and open_clip.hf_model.transformers is not None
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
