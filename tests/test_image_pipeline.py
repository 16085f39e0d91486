"""The image pipeline of open_clip's trainer: its augmentation, workers, accumulated gradients; all bits determined."""

from __future__ import annotations

import io
from dataclasses import replace
from functools import partial
from itertools import islice
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.sample import Source
from expunge.models import clip
from expunge.models.accumulation import accumulate
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.loss import contrastive_loss
from expunge.models.network import open_clip
from expunge.models.originals import augmented, drawn_from, load_for_training, load_originals
from expunge.models.pairs import load_pairs
from expunge.models.recipe import train_by_recipe
from expunge.models.settings import (
    AugmentationParams,
    ComputeParams,
    LoadingParams,
    ModelParams,
    ShardedParams,
    TrainParams,
)
from expunge.models.slices import train_slice
from expunge.models.training import train
from expunge.settings import Params
from expunge.unlearning.loop import unlearn
from expunge.unlearning.problem import Problem
from formats import drawn, encoded
from models import TINY, tiny_clip
from problems import make_problem
from project import tiny_params
from samples import make_samples

pytestmark = pytest.mark.slow

COMPUTE = ComputeParams(device="cpu", precision="fp32")
JITTER = {"scale": (0.4, 1.0), "color_jitter": (0.3, 0.3, 0.3, 0.1), "color_jitter_prob": 0.8, "gray_scale_prob": 0.3}
BY_TIMM = {"scale": (0.4, 1.0), "color_jitter": 0.3, "re_prob": 0.5, "use_timm": True}
PLAIN = ModelParams(
    embed_dim=16,
    vision_cfg={"image_size": 32, "patch_size": 16, "width": 32, "layers": 1, "head_width": 16},
    text_cfg={"context_length": 12, "vocab_size": 49408, "width": 16, "heads": 2, "layers": 1},
)
"""A model without BatchNorm."""


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    samples = make_samples(30, splits=("train",))
    pictured = (type(one)(**vars(one) | {"image": encoded(drawn(number, 48))}) for number, one in enumerate(samples))
    return write_catalog(
        tmp_path_factory.mktemp("catalog"), Source("generated", "1", "CC0-1.0", "nobody", pictured), 16
    )


def recipe(**options: object) -> TrainParams:
    plain = {"epochs": 4, "batch_size": 8, "checkpoint_epochs": 2, "text_finish": None}
    return TrainParams.model_validate(tiny_params()["train"] | plain | options)


def digest(model: Clip) -> dict[str, bytes]:
    return {name: value.numpy().tobytes() for name, value in model.model.state_dict().items()}


def trained(
    corpus: Catalog, params: TrainParams, checkpoint: Checkpoint | None = None, workers: int = 0, **options: object
) -> Clip:
    clip.configure(COMPUTE)
    model = clip.create(TINY, 0)
    pairs = load_for_training(corpus, model, set(corpus.ids), params, LoadingParams(workers=workers))
    train(model, pairs, params, COMPUTE, 0, checkpoint, **options)
    return model


def test_however_many_workers_there_are_the_model_has_the_same_bits(corpus: Catalog) -> None:
    found = [digest(trained(corpus, recipe(aug_cfg=JITTER), workers=workers)) for workers in (0, 2)]
    assert found[0] == found[1]
    assert digest(trained(corpus, recipe(aug_cfg={}))) != found[0]
    assert digest(trained(corpus, recipe())) != found[0]


def test_a_killed_run_with_workers_resumes_and_ends_with_the_same_bits(corpus: Catalog, tmp_path: Path) -> None:
    params = recipe(aug_cfg=JITTER, accum_freq=2, epochs=6)

    def killed(step: int, total: int, loss: float) -> None:
        if step > total * 0.7:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        trained(corpus, params, Checkpoint(tmp_path, "key"), workers=2, progress=killed)
    first: list[int] = []
    resumed = trained(
        corpus, params, Checkpoint(tmp_path, "key"), workers=2, progress=lambda step, total, loss: first.append(step)
    )
    assert first[0] > 1
    assert digest(resumed) == digest(trained(corpus, params))


@pytest.mark.parametrize("cfg", [JITTER, BY_TIMM, {}], ids=["open_clip", "timm", "default"])
def test_a_picture_is_augmented_as_open_clips_trainer_does_and_never_twice_alike(corpus: Catalog, cfg: dict) -> None:
    model = tiny_clip()
    originals = load_originals(corpus, model, set(corpus.ids))
    keys = [[(epoch, 3)] for epoch in range(4)]
    before = torch.get_rng_state()
    found = list(augmented(originals, AugmentationParams.model_validate(cfg), 0, keys))
    assert torch.equal(torch.get_rng_state(), before)
    assert len({pixels.numpy().tobytes() for pixels in found}) == 4
    # As training does, not to the loader's end, where a worker's exit status counts: in a process that has run a
    # Prefect flow every fork ends with status 1.
    by_one = replace(originals, workers=1)
    again = list(islice(augmented(by_one, AugmentationParams.model_validate(cfg), 0, keys[2:]), len(keys[2:])))
    assert torch.equal(again[0], found[2])
    whole = originals.images([3])[0].float()
    assert float((found[0][0].float() - whole).abs().mean()) < float((whole - originals.images([4])[0]).abs().mean())
    plain = open_clip.transform.PreprocessCfg(**model.config["preprocess_cfg"])
    transform = open_clip.transform.image_transform_v2(plain, is_train=True, aug_cfg=cfg)
    with drawn_from(0, 0, 3):
        expected = transform(Image.open(io.BytesIO(originals.encoded(3))).convert("RGB"))
    assert torch.equal(found[0][0], model.to_uint8(expected))


def test_originals_are_the_catalogs_own_bytes_and_decode_to_the_same_pixels(corpus: Catalog) -> None:
    model, some = tiny_clip(), set(corpus.ids[5:25])
    originals, pairs = load_originals(corpus, model, some), load_pairs(corpus, model, some)
    assert originals.ids == pairs.ids
    assert torch.equal(originals.images(range(20)), pairs.images(range(20)))
    stored = dict(corpus.pictures({originals.ids[7]}))
    assert originals.encoded(7) == stored[originals.ids[7]]
    assert Image.open(io.BytesIO(originals.encoded(0))).size == (48, 48)


def gradients(model: Clip) -> dict[str, torch.Tensor]:
    return {name: weight.grad for name, weight in model.model.named_parameters() if weight.grad is not None}


@pytest.mark.parametrize("bias", [None, -10.0], ids=["softmax", "sigmoid"])
def test_accumulated_parts_have_the_gradient_of_the_whole_batch(corpus: Catalog, bias: float | None) -> None:
    further = None if bias is None else {"init_logit_bias": bias}
    whole = clip.create(PLAIN.model_copy(update={"further_cfg": further}), 0)
    parts = whole.clone()
    pixels = load_pairs(corpus, whole).images(range(12))
    tokens = whole.tokenizer([f"thing number {number}" for number in range(12)])
    loss = contrastive_loss(whole.encode_pixels(pixels), whole.encode_tokens(tokens), whole.model)
    loss.backward()

    def part(start: int) -> tuple[torch.Tensor, torch.Tensor]:
        rows = slice(start, start + 4)
        return parts.encode_pixels(pixels[rows]), parts.encode_tokens(tokens[rows])

    found = accumulate(parts.model, [lambda start=start: part(start) for start in (0, 4, 8)])
    assert float(found) == pytest.approx(float(loss.detach()), rel=1e-5)
    expected, accumulated = gradients(whole), gradients(parts)
    assert expected.keys() == accumulated.keys()
    assert "logit_scale" in expected
    for name, gradient in expected.items():
        torch.testing.assert_close(accumulated[name], gradient, rtol=1e-3, atol=1e-6, msg=name)


def test_batch_norm_follows_each_part_once(corpus: Catalog) -> None:
    model = tiny_clip()
    model.model.train()
    norm = next(module for module in model.model.modules() if isinstance(module, nn.BatchNorm2d))
    pixels = load_pairs(corpus, model).images(range(8))
    tokens = model.tokenizer([f"thing number {number}" for number in range(8)])
    other = model.clone()
    other.model.train()
    for start in (0, 4):
        other.encode_pixels(pixels[start : start + 4])
    accumulate(
        model.model,
        [
            lambda start=start: (
                model.encode_pixels(pixels[start : start + 4]),
                model.encode_tokens(tokens[start : start + 4]),
            )
            for start in (0, 4)
        ],
    )
    same = next(module for module in other.model.modules() if isinstance(module, nn.BatchNorm2d))
    assert int(norm.num_batches_tracked) == 2
    torch.testing.assert_close(norm.running_mean, same.running_mean)
    assert norm.momentum == 0.1


def test_the_whole_recipe_takes_pictures_from_the_catalog_and_one_step_takes_several_batches(
    corpus: Catalog, tmp_path: Path
) -> None:
    settings = tiny_params(
        train={"epochs": 2, "batch_size": 8, "accum_freq": 2, "aug_cfg": {}}, compute={"device": "cpu"}
    )
    settings["train"]["text_finish"] = {"steps": 3, "batch_size": 8}
    params = Params.model_validate(settings)
    model = clip.create(params.model, 0)
    originals = load_originals(corpus, model, set(corpus.ids))
    curve = train_by_recipe(model, originals, params, lambda stage: Checkpoint(tmp_path, stage))
    assert [row.step for row in curve] == [1, 2, 3, 4, 5]  # one step of 16 an epoch, then three of texts
    assert all(np.isfinite(row.loss) for row in curve)


def own_pictures(corpus: Catalog, params: TrainParams, workers: int) -> Problem:
    """A problem whose pictures are taken by the recipe `params`."""
    problem = make_problem(corpus, clip.create(TINY, 0), params, retain=set(corpus.ids[6:20]))
    stays, loading = set(problem.wording.ids), LoadingParams(workers=workers)
    pictures = partial(load_for_training, corpus, problem.clip, stays, params, loading)
    return replace(problem, pictures=pictures)


@pytest.mark.parametrize("method", ["retrain_image", "cf_k"])
def test_what_trains_on_pictures_again_takes_them_as_the_recipe_does(
    corpus: Catalog, tmp_path: Path, method: str
) -> None:
    values = {"steps": 7, "batch_size": 8}

    def forgotten(params: TrainParams, workers: int = 0, kept: Checkpoint | None = None) -> dict[str, bytes]:
        return digest(unlearn(own_pictures(corpus, params, workers), method, values, kept).clip)

    augmented_ = recipe(aug_cfg=JITTER)
    whole = forgotten(augmented_)
    assert forgotten(augmented_, workers=2) == whole
    assert forgotten(recipe()) != whole
    assert forgotten(recipe(aug_cfg={})) != whole


def test_slices_are_trained_on_augmented_pictures_with_the_same_bits_for_any_number_of_workers(corpus: Catalog) -> None:
    def adapter(cfg: dict | None, workers: int = 0) -> dict[str, bytes]:
        sharding = ShardedParams(epochs=2, rank=2)
        settings = tiny_params(
            train={"batch_size": 8, "aug_cfg": cfg}, compute={"device": "cpu"}, loading={"workers": workers}
        )
        params, model = Params.model_validate(settings), clip.create(TINY, 0)
        pairs = load_for_training(corpus, model, set(corpus.ids[:16]), params.train, params.loading)
        found, _ = train_slice(model, pairs, params, sharding, (0, 1))
        return {name: up.numpy().tobytes() for name, (up, _) in found.items()}

    assert adapter(JITTER) == adapter(JITTER, workers=2)
    assert adapter(JITTER) != adapter({})
    assert adapter(JITTER) != adapter(None)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"aug_cfg": {"re_prob": 0.2}}, "does not read re_prob"),
        ({"aug_cfg": {"color_jitter": 0.2}}, "color_jitter is four numbers"),
        ({"aug_cfg": {"gray_scale_prob": 0.2, "use_timm": True}}, "does not read gray_scale_prob"),
        ({"aug_cfg": {"hue": 0.2}}, "hue"),
        ({"accum_freq": 0}, "accum_freq"),
    ],
)
def test_what_open_clip_would_pass_over_is_refused(options: dict, words: str) -> None:
    with pytest.raises(ValueError, match=words):
        recipe(**options)
