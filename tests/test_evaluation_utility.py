"""What a model can still do, on galleries whose answers are known by hand."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor
from torch.nn.functional import normalize

from expunge.embeddings.gallery import Gallery
from expunge.examination import conditioning, diffusion, features, image_retrieval, similarity
from expunge.project.errors import ExpungeError
from models import tiny_clip

pytestmark = pytest.mark.slow

CAPTIONS = ["apple number 3", "a bird", "drum"]
TEMPLATES = ("{class}",)


def at_angles(degrees: Sequence[float]) -> Tensor:
    radians = torch.deg2rad(torch.tensor(degrees))
    return torch.stack([radians.cos(), radians.sin()], dim=1)


def clusters(per_class: int, spread: float) -> tuple[Tensor, list[str]]:
    """Unit vectors of dimension 64 around three axes, and their class names."""
    draw = torch.Generator().manual_seed(0)
    centres = torch.eye(64)[:3].repeat_interleave(per_class, dim=0)
    noise = spread * torch.randn(3 * per_class, 64, generator=draw)
    return normalize(centres + noise, dim=1), [name for name in "abc" for _ in range(per_class)]


def test_precision_leaves_the_query_out_and_counts_its_class_among_the_nearest() -> None:
    images = at_angles([0, 1, 3, 90, 91, 93, 45])
    labels = ["a", "a", "a", "b", "b", "b", "c"]
    found = image_retrieval.precision(images, labels, np.array([0, 3, 6]))
    assert found == pytest.approx({"image_to_image_p1": 2 / 3, "image_to_image_p5": (2 / 5 + 2 / 5 + 0) / 3})


def test_separate_classes_are_readable_inside_and_outside_of_what_the_attacker_fits_on() -> None:
    images, labels = clusters(20, 0.02)
    fitted = np.array([row for row in range(60) if row % 4])
    groups = {"fitted": fitted[::3], "other": np.arange(0, 60, 4), "none": np.array([], dtype=int)}
    found = features.readable(images, labels, fitted, groups, seed=0)
    assert found == {name: {"linear_probe": 1.0, "nearest_neighbours": 1.0} for name in ("fitted", "other")}


def test_an_attacker_cannot_pass_memory_of_his_own_pictures_off_as_knowledge() -> None:
    images, _ = clusters(20, 100.0)
    labels = np.random.default_rng(0).permutation([name for name in "abc" for _ in range(20)]).tolist()
    found = features.readable(images, labels, np.arange(60), {"all": np.arange(60)}, seed=0)["all"]
    assert max(found.values()) < 0.5


def test_alignment_ignores_turning_and_scale_and_is_the_squared_correlation_of_single_features() -> None:
    images, _ = clusters(5, 0.3)
    turn, _ = torch.linalg.qr(torch.randn(64, 64, generator=torch.Generator().manual_seed(1)))
    assert similarity.linear_cka(images, 3 * images @ turn + 1) == pytest.approx(1)
    column = torch.tensor([1.0, -1, 0, 0])[:, None]
    assert similarity.linear_cka(column, column[[2, 3, 0, 1]]) == 0
    assert similarity.linear_cka(column, torch.tensor([1.0, -1, 1, -1])[:, None]) == pytest.approx(0.5)
    assert similarity.linear_cka(column, torch.ones(4, 2)) == 0


def test_alignment_looks_at_the_given_rows_of_each_tower() -> None:
    images, _ = clusters(5, 0.3)
    other = images.clone()
    other[10:] = images[10:].flip(0)
    first, second = Gallery(images, images, 1.0), Gallery(other, images, 1.0)
    found = similarity.alignment(first, second, np.arange(10))
    assert found == pytest.approx({"image_cka": 1, "text_cka": 1})
    assert similarity.alignment(first, second, np.arange(15))["image_cka"] < 0.99


def test_states_end_in_what_the_projection_reads_and_average_what_precedes_padding() -> None:
    model = tiny_clip()
    states = conditioning.caption_states(model, CAPTIONS, batch_size=2)
    projected = normalize(states[:, 16:] @ model.model.text_projection.detach(), dim=1)
    assert torch.allclose(projected, model.encode_texts(CAPTIONS), atol=1e-6)
    seen: list[Tensor] = []
    model.model.ln_final.register_forward_hook(lambda module, inputs, output: seen.append(output))
    model.encode_texts(CAPTIONS[1:2])
    assert torch.allclose(states[1, :16], seen[0][0, :4].mean(dim=0), atol=1e-6)  # start, a, bird, end


def test_a_generator_paints_what_states_say_and_nothing_of_states_that_say_something_else() -> None:
    draw = torch.Generator().manual_seed(0)
    states = torch.randn(80, 6, generator=draw)
    images = normalize(states @ torch.randn(6, 5, generator=draw) + 0.5, dim=1)
    rows = np.arange(60, 80)
    labels = [f"class {row // 10}" for row in range(80)]
    generator = conditioning.fit_generator(states[:60], images[:60])
    kept = conditioning.conveyed(generator, states[60:], images, labels, rows)
    assert kept["conditioned_similarity"] > 0.95
    assert kept["conditioned_r1"] > 0.5
    lost = conditioning.conveyed(generator, states[60:].flip(0), images, labels, rows)
    assert lost["conditioned_r1"] == 0
    assert lost["conditioned_similarity"] < 0.5
    all_of_one = conditioning.conveyed(generator, states[60:].flip(0), images, ["one"] * 80, rows)
    assert all_of_one["conditioned_class"] == 1


ARCHITECTURE = {
    "hidden_size": 16,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 64,
    "vocab_size": 49408,
    "max_position_embeddings": 12,
    "hidden_act": "gelu",
}


@pytest.mark.parametrize("name", ARCHITECTURE)
def test_a_pipeline_with_another_text_tower_is_refused(name: str) -> None:
    encoder = SimpleNamespace(config=SimpleNamespace(**ARCHITECTURE | {name: "other"}))
    with pytest.raises(ExpungeError, match=f"{name} {ARCHITECTURE[name]} instead of other. Use the tower"):
        diffusion.condition(SimpleNamespace(text_encoder=encoder), tiny_clip())


def test_an_exchanged_text_tower_gives_the_pipeline_the_same_token_states() -> None:
    transformers = pytest.importorskip("transformers")
    model = tiny_clip()
    encoder = transformers.CLIPTextModel(transformers.CLIPTextConfig(**ARCHITECTURE, eos_token_id=49407)).eval()
    diffusion.condition(SimpleNamespace(text_encoder=encoder), model)
    seen: list[Tensor] = []
    model.model.ln_final.register_forward_hook(lambda module, inputs, output: seen.append(output))
    with torch.inference_mode():
        model.model.encode_text(model.tokenizer(CAPTIONS))  # at full length
        assert torch.allclose(encoder(model.tokenizer(CAPTIONS)).last_hidden_state, seen[0], atol=1e-5)


def test_without_diffusers_the_error_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ExpungeError, match=r'pip install "expunge\[diffusion\]"'):
        diffusion.load_pipeline("some/pipeline", torch.device("cpu"))


def test_hits_are_the_share_of_paintings_in_which_the_detector_sees_the_prompts_class() -> None:
    detector = tiny_clip()
    red = Image.new("RGB", (40, 40), "red")
    classes = ["apple", "bird", "drum"]
    pixels = torch.stack([detector.to_uint8(detector.preprocess(red))])
    prototypes = detector.encode_texts(classes)
    seen = classes[(detector.encode_images(pixels) @ prototypes.T).argmax()]
    unseen = next(name for name in classes if name != seen)
    seeds = []

    def pipeline(prompt: str, num_images_per_prompt: int, generator: torch.Generator) -> SimpleNamespace:
        seeds.append(generator.initial_seed())
        return SimpleNamespace(images=[red] * num_images_per_prompt)

    prompts = [("red", seen), ("red", unseen), ("red", seen)]
    assert diffusion.hits(pipeline, detector, prompts, classes, TEMPLATES, 2, seed=7) == pytest.approx(2 / 3)
    assert seeds == [7, 8, 9]
