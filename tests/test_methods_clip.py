"""Methods for two towers: each forgets or does what its equation says, and changes nothing that it must not change."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs
from expunge.models.settings import TrainParams
from expunge.project.errors import ExpungeError
from expunge.unlearning import loop
from expunge.unlearning.loop import unlearn
from expunge.unlearning.methods.gs_lora import GsLoraParams
from expunge.unlearning.methods.munba import bargain
from expunge.unlearning.methods.null_space import leading_directions, retain_aware
from expunge.unlearning.methods.slug import Layer, pareto
from expunge.unlearning.projections import final_projection, transform_output, without_projection
from expunge.unlearning.settings import WeightsParams
from expunge.unlearning.weights import weight_names
from expunge.unlearning.wording import split_captions
from models import TINY, tiny_clip
from problems import make_corpus, make_parent, make_problem

pytestmark = pytest.mark.slow

LOOP = {"steps": 20, "learning_rate": 0.003, "forget_batch": 8, "retain_batch": 16}
METHODS: dict[str, dict[str, Any]] = {
    "multidelete": LOOP,
    "munba": LOOP,
    "gs_lora": LOOP,
    "task_vector": LOOP,
    "slug": {"evaluations": 6},
    "null_space": {"energy": 1.0},
    "text_projection": {"steps": 60, "learning_rate": 0.02},
}


@pytest.fixture(scope="module")
def recipe(train_params: TrainParams) -> TrainParams:
    return train_params


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_corpus(tmp_path_factory.mktemp("catalog"), 60)


@pytest.fixture(scope="module")
def parent(corpus: Catalog, recipe: TrainParams) -> Clip:
    return make_parent(corpus, recipe)


def similarity(model: Clip, pairs: Pairs) -> float:
    images = model.encode_images(pairs.images(range(len(pairs))))
    return (images * model.encode_texts(pairs.canonical())).sum(dim=1).mean().item()


def state(model: Clip) -> dict[str, Tensor]:
    return model.model.state_dict()


def changed(model: Clip, parent: Clip) -> set[str]:
    return {name for name, value in state(parent).items() if not torch.equal(state(model)[name], value)}


@pytest.mark.parametrize("name", METHODS)
def test_each_method_forgets_and_leaves_statistics_temperature_and_layout_alone(
    corpus: Catalog, parent: Clip, recipe: TrainParams, name: str
) -> None:
    problem = make_problem(corpus, parent, recipe)
    before = similarity(parent, problem.forget)
    outcome = unlearn(problem, name, METHODS[name])
    assert similarity(problem.clip, problem.forget) < before - 0.05
    assert outcome.curve[0].keys() >= {"step", "loss"}
    assert {key: value.shape for key, value in state(problem.clip).items()} == {
        key: value.shape for key, value in state(parent).items()
    }
    assert not {key for key in changed(problem.clip, parent) if "running" in key or "num_b" in key or "logit" in key}
    assert all(weight.requires_grad for weight in problem.clip.model.parameters())
    again = make_problem(corpus, parent, recipe)
    unlearn(again, name, METHODS[name])
    assert not changed(again.clip, problem.clip)


@pytest.mark.parametrize("name", ["multidelete", "munba"])
def test_a_forget_set_of_one_pair_is_forgotten_too(
    corpus: Catalog, parent: Clip, recipe: TrainParams, name: str
) -> None:
    problem = make_problem(corpus, parent, recipe, forget=set(sorted(corpus.split_ids("train"))[:1]))
    before = similarity(parent, problem.forget)
    unlearn(problem, name, METHODS[name])
    assert similarity(problem.clip, problem.forget) < before - 0.1


def test_slug_goes_just_as_far_as_it_takes_for_one_picture_not_to_find_its_caption(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    # How far the similarity falls on the way depends on the machine's bits; that the search was won does not.
    problem = make_problem(corpus, parent, recipe, forget=set(sorted(corpus.split_ids("train"))[:1]))
    before = similarity(parent, problem.forget)
    unlearn(problem, "slug", METHODS["slug"])
    assert similarity(problem.clip, problem.forget) < before
    image = problem.clip.encode_images(problem.forget.images([0]))
    captions = problem.clip.encode_texts([*problem.forget.canonical(), *problem.retain.canonical()])
    scores = (image @ captions.T)[0]
    assert (scores >= scores[0]).sum() > 1


@pytest.mark.parametrize(
    ("weights", "inside", "untouched"),
    [
        ({"choice": "image"}, "visual.", "transformer"),
        ({"choice": "text"}, "t", "visual"),
        ({"choice": "projections"}, "visual.attnpool.c_proj.weight", "visual.attnpool.q_proj.weight"),
        ({"choice": "last_blocks"}, "visual.layer4.0.conv1.weight", "visual.layer3.0.conv1.weight"),
        ({"choice": "lora", "rank": 2}, "text_projection", "visual.layer4.0.conv1.weight"),
    ],
)
def test_only_the_chosen_weights_change(
    corpus: Catalog, parent: Clip, recipe: TrainParams, weights: dict[str, Any], inside: str, untouched: str
) -> None:
    problem = make_problem(corpus, parent, recipe)
    unlearn(problem, "cliperase", LOOP | {"steps": 2, "weights": weights})
    moved = changed(problem.clip, parent)
    assert any(name.startswith(inside) for name in moved)
    assert not any(name.startswith(untouched) for name in moved), moved


def test_last_blocks_of_a_transformer_are_its_last_blocks_and_what_follows() -> None:
    params = TINY.model_copy(
        update={
            "vision_cfg": {"layers": 3, "width": 16, "image_size": 32, "patch_size": 16, "head_width": 8},
            "text_cfg": TINY.text_cfg | {"layers": 3},
        }
    )
    names = set(weight_names(clip.create(params, 0).model, WeightsParams(choice="last_blocks", blocks=2)))
    for name in ("visual.transformer.resblocks.1.ln_1.weight", "visual.ln_post.weight", "visual.proj"):
        assert name in names
    for name in ("transformer.resblocks.1.ln_1.weight", "ln_final.weight", "text_projection"):
        assert name in names
    for name in ("visual.transformer.resblocks.0.ln_1.weight", "transformer.resblocks.0.ln_1.weight"):
        assert name not in names
    assert not {"token_embedding.weight", "visual.conv1.weight", "positional_embedding", "logit_scale"} & names


def test_masked_weights_keep_their_bits(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    problem = make_problem(corpus, parent, recipe)
    weights = {"choice": "image", "saliency": 0.1}
    outcome = unlearn(problem, "grad_diff", LOOP | {"weights": weights})
    chosen = sum(weight.numel() for name, weight in parent.model.named_parameters() if name.startswith("visual."))
    assert 0.05 * chosen < outcome.parameters_changed <= 0.1 * chosen + 1
    assert similarity(problem.clip, problem.forget) < similarity(parent, problem.forget) - 0.1


def test_a_killed_low_rank_run_ends_with_the_same_bits(
    corpus: Catalog, parent: Clip, recipe: TrainParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_STEPS", 5)
    whole = make_problem(corpus, parent, recipe)
    unlearn(whole, "gs_lora", LOOP)

    def killed(step: int, total: int, loss: float | None = None) -> None:
        if step == 12:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, "key")
    with pytest.raises(KeyboardInterrupt):
        unlearn(make_problem(corpus, parent, recipe), "gs_lora", LOOP, checkpoint, killed)
    seen: list[int] = []
    again = make_problem(corpus, parent, recipe)
    unlearn(again, "gs_lora", LOOP, checkpoint, lambda step, total, loss=None: seen.append(step))
    assert seen[:2] == [10, 11]
    assert not changed(again.clip, whole.clip)


def test_the_low_rank_update_has_the_rank_asked_for(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    problem = make_problem(corpus, parent, recipe)
    unlearn(problem, "gs_lora", LOOP | {"weights": {"choice": "lora", "rank": 3}})
    update = (state(problem.clip)["text_projection"] - state(parent)["text_projection"]).double()
    values = torch.linalg.svdvals(update)
    assert values[2] > 1e-4 > 1e-5 > values[3]


def test_settings_that_contradict_a_method_are_refused() -> None:
    with pytest.raises(ValueError, match="set saliency to 1"):
        WeightsParams(choice="lora", saliency=0.5)
    with pytest.raises(ValueError, match="to `lora`"):
        GsLoraParams(steps=1, learning_rate=1.0, weights=WeightsParams(choice="all"))


@pytest.mark.parametrize("cosine", [-1.0, -0.9, 0.0, 0.7])
def test_the_bargain_is_the_closed_form_and_harms_neither_side(cosine: float) -> None:
    retain = [torch.tensor([3.0, 0.0]), torch.tensor([[0.0]])]
    forget = [torch.tensor([0.2 * cosine, 0.0]), torch.tensor([[0.2 * (1 - cosine**2) ** 0.5]])]
    direction = torch.cat([part.flatten() for part in bargain(retain, forget)])
    gradients = [torch.cat([part.flatten() for part in parts]) for parts in (retain, forget)]
    for gradient in gradients:
        expected = gradient.norm() * (1 + cosine) ** 0.5
        assert direction @ gradient == pytest.approx(expected.item(), abs=1e-3)
        assert direction @ gradient >= -1e-6


def test_null_space_matrices_solve_their_equations() -> None:
    draw = torch.Generator().manual_seed(0)
    forget, retain = (torch.randn(rows, 6, generator=draw, dtype=torch.float64) for rows in (3, 9))
    basis = leading_directions(forget, 1.0)
    assert torch.allclose(basis.T @ basis, torch.eye(3, dtype=torch.float64))
    assert torch.allclose(forget @ (torch.eye(6) - basis @ basis.T), torch.zeros(3, 6, dtype=torch.float64))
    assert leading_directions(forget, 0.1).shape == (6, 1)
    matrix = retain_aware(forget, retain, 2.0, 0.1).requires_grad_()
    objective = (
        (forget @ matrix.T).square().sum(dim=1).mean()
        + 2.0 * (retain @ matrix.T - retain).square().sum(dim=1).mean()
        + 0.1 * (matrix - torch.eye(6)).square().sum()
    )
    (gradient,) = torch.autograd.grad(objective, matrix)
    assert gradient.abs().max() < 1e-9


def test_the_plain_projection_leaves_images_nothing_in_common_with_forgotten_texts(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    problem = make_problem(corpus, parent, recipe)
    texts = parent.encode_texts(split_captions(problem)[0])
    unlearn(problem, "null_space", METHODS["null_space"])
    images = problem.clip.encode_images(problem.retain.images(range(len(problem.retain))))
    assert (images @ texts.T).abs().max() < 1e-4
    assert changed(problem.clip, parent) == {"visual.attnpool.c_proj.weight", "visual.attnpool.c_proj.bias"}


@pytest.mark.parametrize("tower", ["image", "text"])
def test_a_transformed_projection_returns_the_transformed_embedding(tower: str) -> None:
    model = tiny_clip().model.eval()
    matrix = torch.randn(16, 16, generator=torch.Generator().manual_seed(0))
    tokens, pixels = torch.randint(1, 400, (3, 12)), torch.randn(3, 3, 32, 32)
    with torch.no_grad():
        encode = {"image": lambda: model.encode_image(pixels), "text": lambda: model.encode_text(tokens)}[tower]
        before = encode()
        transform_output(final_projection(model, tower)[1], matrix)
        assert torch.allclose(encode(), before @ matrix.T, atol=1e-4)


def test_features_before_the_projection_are_those_that_it_multiplies() -> None:
    model = tiny_clip().model.eval()
    tokens = torch.randint(1, 400, (3, 12))
    with torch.no_grad():
        with without_projection(model, "text"):
            features = model.encode_text(tokens)
        assert torch.allclose(features @ model.text_projection, model.encode_text(tokens), atol=1e-5)


def test_text_projection_brings_forgotten_texts_to_the_empty_one_and_keeps_the_images(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    problem = make_problem(corpus, parent, recipe)
    forgotten, _ = split_captions(problem)
    empty = parent.encode_texts([""])
    unlearn(problem, "text_projection", METHODS["text_projection"])
    gain = (problem.clip.encode_texts(forgotten) - parent.encode_texts(forgotten)) @ empty.T
    assert gain.mean() > 0.1
    assert changed(problem.clip, parent) == {"text_projection"}


def test_slug_changes_one_layer_on_the_pareto_front(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    problem = make_problem(corpus, parent, recipe)
    unlearn(problem, "slug", METHODS["slug"])
    assert len(changed(problem.clip, parent)) == 1

    def layer(name: str, importance: float, alignment: float) -> Layer:
        return Layer(name, torch.nn.Parameter(torch.ones(1)), torch.ones(1), importance, alignment)

    layers = [layer("a", 1.0, 0.5), layer("b", 0.5, 0.1), layer("c", 0.9, 0.6), layer("d", 0.4, 0.1)]
    assert [found.name for found in pareto(layers)] == ["a", "b"]


def test_texts_that_retained_pairs_share_are_not_forgotten(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    problem = make_problem(corpus, parent, recipe)
    forgotten, retained = split_captions(problem)
    assert set(problem.forget.canonical()) <= set(forgotten)
    assert not set(forgotten) & set(retained)
    problem.remaining.captions.extend(forgotten)
    with pytest.raises(ExpungeError, match="share every caption"):
        split_captions(problem)
