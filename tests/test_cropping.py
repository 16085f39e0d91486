"""Texts are encoded no longer than they are, where that changes nothing."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.cropping import GROUP, can_crop, longest_first
from expunge.models.settings import ModelParams
from models import TINY, tiny_clip

TEXTS = ["a", "a red bird", "a small green bird on a grey drum in the rain", "drum"] * 40


def whole(model: Clip, texts: list[str]) -> Tensor:
    """Embeddings by open_clip's own method, at full length."""
    with torch.no_grad():
        return nn.functional.normalize(model.model.encode_text(model.tokenizer(texts)).float(), dim=-1)


def with_text(**changes: object) -> Clip:
    values = {**TINY.model_dump(), "text_cfg": {**(TINY.text_cfg or {}), **changes}}
    return clip.create(ModelParams.model_validate(values), 0)


def test_cropped_texts_have_the_embeddings_of_whole_ones() -> None:
    model = tiny_clip()
    assert can_crop(model.model)
    assert len(TEXTS) > GROUP
    with torch.no_grad():
        assert torch.allclose(model.encode_tokens(model.tokenizer(TEXTS)), whole(model, TEXTS), atol=1e-6)
    assert torch.allclose(model.encode_texts(TEXTS, batch_size=7), whole(model, TEXTS), atol=1e-6)


def test_a_short_text_runs_through_fewer_tokens_than_the_tower_has_room_for() -> None:
    model = tiny_clip()
    lengths: list[int] = []
    model.model.ln_final.register_forward_hook(lambda module, inputs, output: lengths.append(output.shape[1]))
    model.encode_texts(["a bird", "a bird on a drum"], batch_size=1)
    assert lengths == [7, 4]  # longest first, start and end of text included


def test_gradients_of_cropped_texts_are_those_of_whole_ones() -> None:
    cropped, full = tiny_clip(), tiny_clip()
    texts = TEXTS[:8]
    goal = torch.randn(8, cropped.embed_dim, generator=torch.Generator().manual_seed(0))
    (cropped.encode_tokens(cropped.tokenizer(texts)) * goal).sum().backward()
    features = full.model.encode_text(full.tokenizer(texts))
    (nn.functional.normalize(features.float(), dim=-1) * goal).sum().backward()
    for (name, one), other in zip(cropped.model.named_parameters(), full.model.parameters(), strict=True):
        if other.grad is not None:
            assert one.grad is not None, name
            assert torch.allclose(one.grad, other.grad, atol=1e-5), name


@pytest.mark.parametrize("changes", [{"no_causal_mask": True}, {"pool_type": "last"}, {"pool_type": "first"}])
def test_towers_that_read_beyond_the_end_of_a_text_are_run_at_full_length(changes: dict[str, object]) -> None:
    model = with_text(**changes)
    assert not can_crop(model.model)
    assert torch.allclose(model.encode_texts(TEXTS, batch_size=7), whole(model, TEXTS), atol=1e-6)


def test_a_tower_of_its_own_is_cropped_as_well() -> None:
    import open_clip

    values = TINY.model_dump(include={"embed_dim", "vision_cfg", "text_cfg"})
    torch.manual_seed(0)
    model = tiny_clip()
    own = Clip(open_clip.CustomTextCLIP(**values).eval(), model.preprocess, model.tokenizer, model.config)
    assert can_crop(own.model)
    assert torch.allclose(own.encode_texts(TEXTS, batch_size=7), whole(own, TEXTS), atol=1e-6)


def test_no_text_has_no_embedding() -> None:
    assert tiny_clip().encode_texts([]).shape == (0, 16)


def test_texts_are_taken_from_the_longest_on() -> None:
    tokens = torch.tensor([[5, 9, 0], [9, 0, 0], [5, 6, 9]])
    assert longest_first(tokens).tolist() == [2, 0, 1]
