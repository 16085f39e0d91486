"""A model on disk is what plain open_clip reads, and a model that does not fit is refused in one sentence."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from expunge.models import clip
from expunge.project.errors import ExpungeError
from models import tiny_clip
from samples import png


def test_plain_open_clip_loads_a_saved_model_with_the_same_weights_and_preprocessing(tmp_path: Path) -> None:
    import open_clip

    saved = tiny_clip()
    clip.save(saved, tmp_path)
    model, _, preprocess = open_clip.create_model_and_transforms(f"local-dir:{tmp_path}")
    tokenizer = open_clip.get_tokenizer(f"local-dir:{tmp_path}")
    image = clip.decode_image(png(7, 50), "seven")
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
        clip.decode_image(data, "sample:0001")


def test_a_picture_that_unpacks_to_gigabytes_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clip, "MAX_PIXELS", 100)
    with pytest.raises(ExpungeError, match="over the limit"):
        clip.decode_image(png(1, 16), "sample:0001")


def test_the_library_needs_neither_prefect_nor_dvc() -> None:
    script = (
        "import sys, expunge.models.clip, expunge.models.training, expunge.unlearning.loop;"
        "import expunge.steps.evaluate, expunge.embeddings.index;"
        "sys.exit(any(name.split('.')[0] in ('prefect', 'dvc') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", script], check=False).returncode == 0
