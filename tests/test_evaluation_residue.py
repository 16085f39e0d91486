"""What forgetting left behind, on galleries whose answers are known by hand."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import normalize

from expunge.embeddings.gallery import Gallery, view
from expunge.examination import associations, surrogates
from expunge.examination import distinguishability as traces
from expunge.examination.associations import Associations
from expunge.examination.quantisation import quantised
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs
from expunge.models.settings import TrainParams
from expunge.project.errors import ExpungeError
from models import tiny_clip
from samples import make_catalog

pytestmark = pytest.mark.slow

ROWS = np.array([1, 4, 5])


@pytest.fixture(scope="module")
def pairs(tmp_path_factory: pytest.TempPathFactory) -> Pairs:
    made = load_pairs(make_catalog(tmp_path_factory.mktemp("catalog"), 12), tiny_clip())
    captions = [[*known, ("en", f"alias {row}")] for row, known in enumerate(made.captions)]
    # An untrained model hardly tells pictures of one colour apart.
    return replace(
        made, captions=captions, pixels=np.random.default_rng(0).integers(0, 256, made.pixels.shape, np.uint8)
    )


def scattered(count: int, seed: int) -> Tensor:
    return normalize(torch.randn(count, 24, generator=torch.Generator().manual_seed(seed)), dim=1)


def test_surrogate_captions_are_sorted_by_whether_training_drew_them(pairs: Pairs, train_params: TrainParams) -> None:
    recipe = train_params.model_copy(update={"templates": ("{caption}", surrogates.TEMPLATES[0])})
    found = surrogates.captions(pairs, ROWS[:1], recipe)
    assert [surrogate.text for surrogate in found["aliases"]] == ["alias 1"]
    assert [surrogate.text for surrogate in found["translations"]] == ["bird Nummer 1"]
    assert [surrogate.text for surrogate in found["templates"]] == [
        template.format(caption="bird number 1") for template in surrogates.TEMPLATES[1:]
    ]
    assert {surrogate.row for kind in found.values() for surrogate in kind} == {1}


def test_surrogates_are_ranked_against_the_partner_of_what_they_stand_for(
    pairs: Pairs, train_params: TrainParams, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = tiny_clip()
    monkeypatch.setattr(surrogates, "DRAWINGS", {"same": lambda pixels: pixels})
    own = model.encode_images(pairs.images(range(12)))
    aliases = model.encode_texts([f"alias {row}" for row in range(12)])
    found = surrogates.score(model, Gallery(aliases, own, 1.0), pairs, ROWS, train_params)
    assert found["aliases"] == pytest.approx({"count": 3, "r1": 1.0, "pair_similarity": 1.0})
    assert found["same"] == pytest.approx({"count": 3, "r1": 1.0, "pair_similarity": 1.0})
    assert found["templates"]["count"] == 9
    moved = Gallery(aliases.roll(1, 0), own.roll(1, 0), 1.0)
    found = surrogates.score(model, moved, pairs, ROWS, train_params)
    assert (found["aliases"]["r1"], found["same"]["r1"]) == (0.0, 0.0)


def test_drawings_keep_shape_and_type_and_change_what_they_say() -> None:
    picture = torch.full((2, 3, 32, 32), 250, dtype=torch.uint8)
    picture[:, 0, 8:16, 8:12] = 10
    drawn = {kind: redraw(picture) for kind, redraw in surrogates.DRAWINGS.items()}
    assert {(tuple(image.shape), image.dtype) for image in drawn.values()} == {((2, 3, 32, 32), torch.uint8)}
    assert torch.equal(drawn["mirrored"].flip(-1), picture)
    assert torch.equal(drawn["grayscale"][:, 0], drawn["grayscale"][:, 2])
    assert drawn["inverted_background"][0, :, 0, 0].tolist() == [5, 5, 5]
    assert torch.equal(drawn["inverted_background"][:, :, 8:16, 8:12], picture[:, :, 8:16, 8:12])
    assert (drawn["rotated"][:, :, [0, 0, -1, -1], [0, -1, 0, -1]] == 250).all()
    for kind in ("rotated", "blurred"):
        assert not torch.equal(drawn[kind], picture)
    assert drawn["blurred"].float().var() < picture.float().var()


def test_a_model_cannot_be_told_from_itself_nor_by_how_its_space_is_turned() -> None:
    gallery = Gallery(scattered(40, 0), scattered(40, 1), 20.0)
    assert traces.trace_auc(gallery, gallery, {"all": np.arange(40), "none": np.arange(0)}) == {"all": 0.5}
    turn, _ = torch.linalg.qr(torch.randn(24, 24, generator=torch.Generator().manual_seed(2)))
    turned = Gallery(gallery.images @ turn, gallery.texts @ turn, 20.0)
    seen = [traces.observed(model, np.arange(40)) for model in (gallery, turned)]
    assert torch.allclose(*seen, atol=1e-4)


def test_the_attacker_sees_loss_margin_and_profile_of_each_pair() -> None:
    images = torch.eye(12)
    texts = normalize(2 * images + images.roll(1, 0), dim=1)
    seen = traces.observed(Gallery(images, texts, 2.0), np.array([3]))[0]
    right, wrong = 2 / 5**0.5, 1 / 5**0.5
    loss = np.log(np.exp(2 * right) + np.exp(2 * wrong) + 10) - 2 * right
    one_way = [loss, right - wrong, right, wrong, *[0.0] * 8]
    assert seen.tolist() == pytest.approx([right, *one_way, *one_way], abs=1e-6)


def test_a_trace_is_found_where_forgetting_left_one_and_only_there() -> None:
    images = scattered(60, 0)
    whole = Gallery(images, normalize(images + 0.5 * scattered(60, 1), dim=1), 20.0)
    texts = whole.texts.clone()
    texts[:20] = normalize(whole.texts[:20] - 0.8 * images[:20], dim=1)
    found = traces.trace_auc(whole, Gallery(images, texts, 20.0), {"forget": np.arange(20), "rest": np.arange(20, 60)})
    assert found["forget"] > 0.95
    assert abs(found["rest"] - 0.5) < 0.25


def test_a_trace_is_not_looked_for_in_fewer_rows_than_folds() -> None:
    gallery = Gallery(scattered(40, 0), scattered(40, 1), 20.0)
    with pytest.raises(ExpungeError, match="at least 5 rows; the group `forget` has 4"):
        traces.trace_auc(gallery, gallery, {"forget": np.arange(4)})


@pytest.mark.parametrize("bits", [8, 4])
def test_every_weight_matrix_has_as_many_levels_as_its_bits_allow(bits: int) -> None:
    model = tiny_clip()
    before = {name: weight.clone() for name, weight in model.model.state_dict().items()}
    rounded = quantised(model, bits).model.state_dict()
    assert all(torch.equal(weight, before[name]) for name, weight in model.model.state_dict().items())
    changed = {name for name in before if not torch.equal(before[name], rounded[name])}
    matrices = {name for name, weight in before.items() if weight.ndim > 1 and "embedding" not in name}
    assert changed == matrices
    for name in matrices:
        channels = rounded[name].T if name.endswith("text_projection") else rounded[name]
        assert max(len(channel.unique()) for channel in channels) < 2**bits
        original = before[name].T if name.endswith("text_projection") else before[name]
        step = original.flatten(1).abs().amax(dim=1) / (2 ** (bits - 1) - 1)
        error = (channels - original).flatten(1).abs().amax(dim=1)
        assert (error <= step * 0.501).all()


def test_an_edit_below_half_a_step_does_not_survive_quantisation_and_a_channel_of_zeros_does() -> None:
    model = tiny_clip()
    layer = layer_of(model)
    with torch.no_grad():
        layer.weight[0] = 0
        layer.weight[1:] = torch.arange(16) - 8.0
    edited = model.clone()
    with torch.no_grad():
        layer_of(edited).weight[1, 9] += 0.01
    first, second = (layer_of(quantised(version, 4)).weight for version in (model, edited))
    assert torch.equal(first, second)
    assert torch.equal(first[0], torch.zeros(16))


def layer_of(clip: Clip) -> nn.Linear:
    return next(module for module in clip.model.transformer.modules() if isinstance(module, nn.Linear))


SETS = Associations(np.arange(0, 10), np.arange(10, 16), np.arange(16, 22))
FACTS = [f"fact {row}" for row in range(22)]


def known(forget: Tensor) -> Gallery:
    """Images on the axes; the other facts of the same persons have cosine 0.6, those of others 0.8."""
    images = torch.eye(24)[:22]
    others = torch.cat([torch.full((6,), 0.6), torch.full((6,), 0.8)])[:, None]
    rest = others * images[10:] + (1 - others**2).sqrt() * torch.eye(24)[22]
    return Gallery(images, torch.cat([forget, rest]), 1.0)


def test_kept_associations_are_found_and_told_from_shuffled_ones() -> None:
    found = associations.score(known(torch.eye(24)[:10]), FACTS, SETS, seed=0)
    wanted = {"RetFail": 1.0, "AssocStr": 1.0, "ACS": 1.0, "IntraIdSim": 0.6, "InterIdSim": 0.8}
    assert found == pytest.approx(wanted)


def test_lost_associations_rank_behind_those_that_fit_and_cannot_be_told_from_shuffled_ones() -> None:
    axes = torch.eye(24)
    gallery = known(axes[:10].roll(1, 0))
    # Each image finds its neighbour's caption first; its own ties with the 20 that have nothing to do with it.
    assert associations.score(gallery, FACTS, SETS, seed=0)["RetFail"] == pytest.approx(1 / 22)
    nowhere = associations.score(known(axes[23].repeat(10, 1)), FACTS, SETS, seed=0)
    assert (nowhere["AssocStr"], nowhere["ACS"]) == (0.0, 0.5)


def test_a_fact_that_two_pictures_share_is_one_candidate_and_no_false_pair() -> None:
    axes = torch.eye(24)
    images = axes[:10].clone()
    images[1] = images[0]
    gallery = known(images)
    gallery = Gallery(torch.cat([images, gallery.images[10:]]), gallery.texts, 1.0)
    found = associations.score(gallery, ["fact 0", "fact 0", *FACTS[2:]], SETS, seed=0)
    assert (found["RetFail"], found["ACS"]) == (1.0, 1.0)


def test_too_few_associations_are_refused() -> None:
    few = replace(SETS, forget=np.arange(4))
    with pytest.raises(ExpungeError, match="at least 5 forgotten pairs"):
        associations.score(known(torch.eye(24)[:10]), FACTS, few, seed=0)


def test_a_model_and_its_quantised_copy_see_the_catalog_almost_alike(pairs: Pairs) -> None:
    model = tiny_clip()
    whole, rounded = (view(clip, pairs, 8) for clip in (model, quantised(model)))
    assert (whole.images * rounded.images).sum(dim=1).min() > 0.99
    assert (whole.texts * rounded.texts).sum(dim=1).min() > 0.99
