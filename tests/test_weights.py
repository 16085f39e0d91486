"""Models that other tools left: read where that runs nothing, converted exactly, and refused in words otherwise."""

from __future__ import annotations

import json
import pickle
import time
from pathlib import Path

import pytest
import torch
from huggingface_hub import constants
from PIL import Image

from architectures import TEXTS, shrunk
from expunge.models import clip
from expunge.models.files import CONFIG, WEIGHTS
from expunge.models.settings import ModelParams
from expunge.project.errors import ExpungeError
from models import TINY, tiny_clip

pytestmark = pytest.mark.slow


def starting_from(source: Path | str) -> ModelParams:
    return ModelParams(**TINY.model_dump(exclude_none=True) | {"pretrained": str(source)})


def same(first: clip.Clip, second: clip.Clip) -> bool:
    other = second.model.state_dict()
    return all(torch.equal(tensor, other[name]) for name, tensor in first.model.state_dict().items())


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_a_checkpoint_of_open_clips_trainer_is_read(tmp_path: Path, prefix: str) -> None:
    trained = tiny_clip(3)
    state = {f"{prefix}{name}": tensor for name, tensor in trained.model.state_dict().items()}
    optimizer = torch.optim.AdamW(trained.model.parameters()).state_dict()
    torch.save({"epoch": 32, "name": "a run", "state_dict": state, "optimizer": optimizer}, tmp_path / "epoch_32.pt")
    assert same(clip.create(starting_from(tmp_path / "epoch_32.pt"), 0), trained)


def test_safetensors_are_read_as_a_file_and_as_a_folder(tmp_path: Path) -> None:
    trained = tiny_clip(3)
    clip.save(trained, tmp_path)
    assert same(clip.create(starting_from(tmp_path / WEIGHTS), 0), trained)
    assert same(clip.create(starting_from(tmp_path), 0), trained)
    assert same(clip.create(ModelParams(name=f"local-dir:{tmp_path}"), 0), trained)


def test_weights_in_open_clips_other_layout_are_read(tmp_path: Path) -> None:
    trained = tiny_clip(3)
    clip.save(trained, tmp_path)
    custom = ModelParams(
        **TINY.model_dump(exclude_none=True) | {"pretrained": str(tmp_path / WEIGHTS)},
        further_cfg={"custom_text": True},
    )
    made = clip.create(custom, 0)
    assert torch.equal(made.encode_texts(TEXTS), trained.encode_texts(TEXTS))


class Bomb:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return Path.touch, (Path("exploded"),)


def test_what_a_pickle_would_run_is_not_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"state_dict": tiny_clip().model.state_dict(), "more": Bomb()}, "a.pt")
    Path("b.pt").write_bytes(pickle.dumps(Bomb()))
    torch.jit.script(torch.nn.Linear(2, 2)).save("c.pt")
    torch.save(tiny_clip().model, "d.pt")
    for name in ("a.pt", "b.pt", "c.pt", "d.pt"):
        with pytest.raises(ExpungeError, match="nothing in it is run"):
            clip.create(starting_from(name), 0)
    assert not Path("exploded").exists()


def test_weights_of_another_architecture_are_named_by_what_differs(tmp_path: Path) -> None:
    wider = TINY.model_copy(update={"embed_dim": 24})
    clip.save(clip.create(wider, 0), tmp_path)
    with pytest.raises(ExpungeError, match=r"another architecture .* is \[.*\] and not \["):
        clip.create(starting_from(tmp_path / WEIGHTS), 0)
    with pytest.raises(ExpungeError, match=r"lacks ln_final\.bias and \d+ more"):
        clip.create(starting_from(saved(shrunk("EVA02-B-16", tmp_path / "t"), tmp_path / "eva")), 0)


def saved(params: ModelParams, folder: Path) -> Path:
    clip.save(clip.create(params, 0), folder)
    return folder


def hugging_face(folder: Path, **text: object) -> object:
    """A small CLIPModel as transformers saves it, on disk and in memory."""
    from transformers import CLIPConfig, CLIPModel

    torch.manual_seed(5)
    config = CLIPConfig(
        projection_dim=24,
        vision_config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 96}
        | {"image_size": 32, "patch_size": 8},
        text_config={"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 64}
        | {"max_position_embeddings": 14, "vocab_size": 49408, "eos_token_id": 49407, "bos_token_id": 49406}
        | text,
    )
    model = CLIPModel(config).eval()
    model.save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(
        json.dumps({"image_mean": [0.1, 0.2, 0.3], "image_std": [0.4, 0.5, 0.6], "size": {"shortest_edge": 32}})
    )
    return model


def test_a_clip_model_of_transformers_gives_the_embeddings_that_transformers_gives(tmp_path: Path) -> None:
    theirs = hugging_face(tmp_path)
    ours = clip.create(ModelParams(name=f"local-dir:{tmp_path}"), 0)
    assert ours.config["preprocess_cfg"]["mean"] == [0.1, 0.2, 0.3]
    picture = ours.preprocess(Image.effect_noise((40, 32), 80).convert("RGB"))
    with torch.no_grad():
        found = theirs(input_ids=ours.tokenizer(TEXTS), pixel_values=picture[None])
    assert torch.allclose(ours.encode_texts(TEXTS), found.text_embeds, atol=1e-5)
    assert torch.allclose(ours.encode_images(ours.to_uint8(picture)[None]), found.image_embeds, atol=1e-5)
    clip.save(ours, tmp_path / "saved")
    assert torch.equal(clip.load(tmp_path / "saved").encode_texts(TEXTS), ours.encode_texts(TEXTS))


def test_a_model_of_transformers_in_shards_is_read_and_one_of_another_kind_is_refused(tmp_path: Path) -> None:
    theirs = hugging_face(tmp_path / "whole")
    theirs.save_pretrained(tmp_path / "parts", max_shard_size="2MB")
    assert len(list((tmp_path / "parts").glob("*.safetensors"))) > 1
    whole, parts = (clip.create(ModelParams(name=f"local-dir:{tmp_path / name}"), 0) for name in ("whole", "parts"))
    assert same(whole, parts)
    config = tmp_path / "whole" / "config.json"
    config.write_text(config.read_text().replace('"model_type": "clip"', '"model_type": "siglip"'))
    with pytest.raises(ExpungeError, match="of transformers' models, CLIPModel is read"):
        clip.create(ModelParams(name=f"local-dir:{tmp_path / 'whole'}"), 0)


def test_what_has_to_be_downloaded_says_so_within_seconds(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(constants, "ENDPOINT", "http://127.0.0.1:9")
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    started = time.monotonic()
    for params in (
        ModelParams(name="ViT-B-32", pretrained="laion2b_s34b_b79k"),
        ModelParams(name="ViT-B-16-SigLIP"),
        ModelParams(name="roberta-ViT-B-32"),
        ModelParams(name="hf-hub:timm/ViT-B-16-SigLIP"),
    ):
        with pytest.raises(ExpungeError, match="does not answer") as caught:
            clip.create(params, 0)
        assert "\n" not in str(caught.value)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"name": "ViT-B-23"}, "open_clip lists no 'ViT-B-23'; the closest are .*ViT-B-32"),
        (
            {"name": "ViT-B-32", "pretrained": "laion9b"},
            "neither a file or a folder nor one of open_clip's tags of ViT",
        ),
        ({"name": "local-dir:/nowhere"}, "is not a folder"),
    ],
)
def test_a_model_that_does_not_exist_is_refused(params: dict[str, str], words: str) -> None:
    with pytest.raises(ExpungeError, match=words):
        clip.create(ModelParams(**params), 0)


def test_a_named_architecture_is_preprocessed_as_its_published_weights_want_it() -> None:
    from expunge.models.description import describe

    found = describe(ModelParams(name="MobileCLIP2-S0")).preprocess_cfg
    assert (found["mean"], found["std"], found["interpolation"]) == ((0.0,) * 3, (1.0,) * 3, "bilinear")
    given = describe(ModelParams(name="MobileCLIP2-S0", mean=(0.5,) * 3, resize_mode="squash")).preprocess_cfg
    assert (given["mean"], given["std"], given["resize_mode"]) == ((0.5,) * 3, (1.0,) * 3, "squash")


@pytest.mark.parametrize("name", ["config.json", "tokenizer_config.json"])
def test_code_that_comes_with_a_tokenizer_or_a_text_tower_is_not_run(tmp_path: Path, name: str) -> None:
    params = shrunk("roberta-ViT-B-32", tmp_path)
    settings = json.loads((tmp_path / name).read_text())
    (tmp_path / name).write_text(
        json.dumps(settings | {"auto_map": {"AutoModel": "evil.Evil", "AutoTokenizer": "e.E"}})
    )
    with pytest.raises(ExpungeError, match="run code that comes with it"):
        clip.create(params, 0)


def test_missing_files_of_a_tokenizer_are_asked_for(tmp_path: Path) -> None:
    params = shrunk("ViT-B-16-SigLIP", tmp_path / "files")
    for path in (tmp_path / "files").iterdir():
        path.unlink()
    with pytest.raises(ExpungeError, match=r"set model\.tokenizer to a folder"):
        clip.create(params, 0)


def test_the_sigmoid_loss_is_that_of_open_clip() -> None:
    from expunge.models.loss import contrastive_loss, matching_loss

    made = clip.create(TINY.model_copy(update={"further_cfg": {"init_logit_bias": -3.0}}), 0)
    draw = torch.Generator().manual_seed(0)
    images, texts = (torch.nn.functional.normalize(torch.randn(6, 16, generator=draw), dim=1) for _ in range(2))
    scale, bias = made.model.logit_scale.exp(), made.model.logit_bias
    from open_clip.loss import SigLipLoss

    expected = SigLipLoss()(images, texts, scale, bias)
    assert contrastive_loss(images, texts, made.model).item() == pytest.approx(expected.item(), rel=1e-6)
    rows = torch.arange(6)
    assert matching_loss(scale * images @ texts.T, rows, made.model).item() == pytest.approx(expected.item(), rel=1e-5)


def test_the_membership_attack_on_a_sigmoid_model_reads_its_own_loss_and_gradient() -> None:
    from expunge.embeddings.gallery import Gallery, match
    from expunge.evaluation.membership import embedding_gradients

    draw = torch.Generator().manual_seed(1)
    images, texts = (torch.nn.functional.normalize(torch.randn(7, 5, generator=draw), dim=1) for _ in range(2))
    gallery = Gallery(images, texts, 6.0, -2.0)
    signs = 2 * torch.eye(7) - 1
    pairwise = -torch.nn.functional.logsigmoid(signs * (6.0 * images @ texts.T - 2.0))
    assert torch.allclose(match(gallery).loss, (pairwise.sum(dim=1) + pairwise.sum(dim=0)) / 2, atol=1e-5)
    own = images[3].clone().requires_grad_()
    moved = torch.nn.functional.normalize(own, dim=0)
    row = 6.0 * texts @ moved - 2.0
    column = torch.cat([images[:3], moved[None], images[4:]]) @ texts[3] * 6.0 - 2.0
    loss = sum(-torch.nn.functional.logsigmoid(signs[3] * side).sum() for side in (row, column)) / 2
    loss.backward()
    assert torch.allclose(embedding_gradients(gallery)[0][3], own.grad, atol=1e-4)


def test_a_model_keeps_its_tokenizer_when_it_is_copied_elsewhere(tmp_path: Path) -> None:
    params = shrunk("roberta-ViT-B-32", tmp_path / "files")
    made = clip.create(params, 0)
    clip.save(made, tmp_path / "saved")
    for path in (tmp_path / "files").iterdir():
        path.unlink()
    (tmp_path / "saved").rename(tmp_path / "moved")
    assert torch.equal(clip.load(tmp_path / "moved").encode_texts(TEXTS), made.encode_texts(TEXTS))
    assert (tmp_path / "moved" / CONFIG).is_file()
