"""Every method runs in the one loop, forgets what it says and is reproducible; calibration hits its level."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from expunge.corpus.catalog import Catalog
from expunge.models import clip
from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs
from expunge.models.settings import TrainParams
from expunge.project.errors import ExpungeError
from expunge.unlearning import loop, registry
from expunge.unlearning.calibration import never_seen_level
from expunge.unlearning.loop import unlearn
from expunge.unlearning.problem import Seen, Teacher, see
from expunge.unlearning.settings import LoopParams
from models import TINY
from problems import make_corpus, make_parent, make_problem

pytestmark = pytest.mark.slow

STEPS = {"steps": 40, "learning_rate": 0.002, "forget_batch": 8, "retain_batch": 16}
GRADIENT_METHODS = [name for name in registry.METHODS if issubclass(registry.parameters_class(name), LoopParams)]


@pytest.fixture(scope="module")
def recipe(train_params: TrainParams) -> TrainParams:
    return train_params


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Catalog:
    return make_corpus(tmp_path_factory.mktemp("catalog"), 120)


@pytest.fixture(scope="module")
def parent(corpus: Catalog, recipe: TrainParams) -> Clip:
    return make_parent(corpus, recipe)


def similarity(model: Clip, pairs: Pairs) -> float:
    images = model.encode_images(pairs.images(range(len(pairs))))
    return (images * model.encode_texts(pairs.canonical())).sum(dim=1).mean().item()


def state(model: Clip) -> dict[str, torch.Tensor]:
    return model.model.state_dict()


@pytest.mark.parametrize("name", GRADIENT_METHODS)
def test_every_gradient_method_changes_the_model_and_explains_its_loss(
    corpus: Catalog, parent: Clip, recipe: TrainParams, name: str
) -> None:
    outcome = unlearn(make_problem(corpus, parent, recipe), name, STEPS)
    assert outcome.parameters_changed > 0
    assert len(outcome.curve) == STEPS["steps"]
    for row in outcome.curve:
        terms = [value for term, value in row.items() if term not in ("step", "loss")]
        assert row["loss"] == pytest.approx(sum(terms), abs=1e-4)


def test_methods_that_forget_lower_the_similarity_of_forgotten_pairs_more_than_fine_tuning_does(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    before = similarity(parent, make_problem(corpus, parent, recipe).forget)
    after = {}
    for name in GRADIENT_METHODS:
        problem = make_problem(corpus, parent, recipe)
        unlearn(problem, name, STEPS)
        after[name] = similarity(problem.clip, problem.forget)
    forgetting = [after[name] for name in ("cliperase", "cliperase_calibrated", "grad_diff")]
    assert all(found < before - 0.1 for found in forgetting), after
    assert after["finetune"] > max(forgetting), after


def test_the_calibrated_method_stops_at_its_level_where_the_plain_one_goes_on_below(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    strong: dict[str, Any] = STEPS | {"steps": 80, "learning_rate": 0.004, "forgetting_weight": 30.0}
    problem = make_problem(corpus, parent, recipe)
    teacher = Teacher(problem)
    level = never_seen_level(teacher.forget, teacher.held_out, problem.remaining).mean()
    unlearn(problem, "cliperase_calibrated", strong)
    assert abs(similarity(problem.clip, problem.forget) - level) < 0.1
    plain = make_problem(corpus, parent, recipe)
    unlearn(plain, "cliperase", strong)
    assert similarity(plain.clip, plain.forget) < level - 0.2


def test_running_statistics_and_temperature_are_not_touched(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    problem = make_problem(corpus, parent, recipe)
    unlearn(problem, "cliperase", STEPS)
    for name, value in state(parent).items():
        if "running" in name or "num_batches" in name or name == "logit_scale":
            assert torch.equal(state(problem.clip)[name], value), name


def test_the_same_seed_gives_the_same_bits_and_another_seed_others(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    models = []
    for seed in (0, 0, 1):
        problem = make_problem(corpus, parent, recipe, seed)
        unlearn(problem, "cliperase_calibrated", STEPS)
        models.append(state(problem.clip))
    assert all(torch.equal(models[0][name], models[1][name]) for name in models[0])
    assert any(not torch.equal(models[0][name], models[2][name]) for name in models[0])


def test_a_run_that_is_killed_after_a_checkpoint_ends_with_the_same_bits(
    corpus: Catalog, parent: Clip, recipe: TrainParams, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(loop, "CHECKPOINT_STEPS", 10)
    whole = make_problem(corpus, parent, recipe)
    unlearn(whole, "cliperase", STEPS)

    def killed(step: int, total: int, loss: float | None = None) -> None:
        if step == 25:
            raise KeyboardInterrupt

    checkpoint = Checkpoint(tmp_path, "key")
    with pytest.raises(KeyboardInterrupt):
        unlearn(make_problem(corpus, parent, recipe), "cliperase", STEPS, checkpoint, killed)
    assert any(tmp_path.iterdir()), "nothing was saved before the kill"
    seen: list[int] = []
    again = make_problem(corpus, parent, recipe)
    unlearn(again, "cliperase", STEPS, checkpoint, lambda step, total, loss=None: seen.append(step))
    assert seen[:2] == [20, 21]
    assert all(torch.equal(state(again.clip)[name], value) for name, value in state(whole.clip).items())


def test_retraining_never_sees_the_forget_set(corpus: Catalog, parent: Clip, recipe: TrainParams) -> None:
    problem = make_problem(corpus, parent, recipe)
    outcome = unlearn(problem, "retrain", {})
    assert similarity(outcome.clip, problem.forget) < similarity(parent, problem.forget) - 0.1


def test_unknown_methods_and_misspelt_hyper_parameters_are_refused() -> None:
    with pytest.raises(ValueError, match="known are bad_teacher"):
        registry.parameters("clip_erase", {})
    with pytest.raises(ValueError, match="learning_rat\n"):
        registry.parameters("cliperase", {"steps": 1, "learning_rat": 1.0})


def pairs_with(captions: list[str], similarities: np.ndarray, images: np.ndarray) -> Seen:
    """Pairs whose text embeddings have the given cosines to their image embeddings."""
    pictures = normalize(torch.from_numpy(images).float())
    cosines = torch.from_numpy(similarities).float()[:, None]
    across = torch.roll(pictures, 1, dims=1)
    across = normalize(across - (across * pictures).sum(dim=1, keepdim=True) * pictures)
    return Seen(captions, pictures, cosines * pictures + (1 - cosines**2).sqrt() * across)


def test_calibration_expects_more_similarity_where_more_of_the_caption_is_known() -> None:
    draw = np.random.default_rng(0)
    things = ("cat", "dog", "owl", "fox")
    retained = [f"{tone} {thing}" for tone in ("light", "dark", "pale") for thing in things]
    known = [f"bright {thing}" for thing in things] * 4
    strange = [f"xyzzy{number}" for number in range(16)]
    held_out = pairs_with(known + strange, np.array([0.8] * 16 + [0.2] * 16), draw.normal(size=(32, 8)))
    forget = pairs_with(["soft cat", "quux"], np.ones(2), draw.normal(size=(2, 8)))
    level = never_seen_level(forget, held_out, pairs_with(retained, np.ones(12), draw.normal(size=(12, 8))))
    assert level[0] > 0.6
    assert level[1] < 0.4


def test_calibration_expects_more_similarity_where_the_picture_is_what_the_words_promise() -> None:
    """Captions are equally well covered; what differs is whether a red thing lies where red things lie."""
    draw = np.random.default_rng(0)
    colours, things = np.eye(8)[:4], [f"{name}{number}" for number in range(24) for name in ("ball", "cube")]
    names = ("red", "green", "blue", "grey")

    def coloured(count: int, offset: int) -> tuple[list[str], np.ndarray]:
        captions = [f"{names[number % 4]} {things[offset + number]}" for number in range(count)]
        return captions, np.stack([colours[number % 4] for number in range(count)]) + draw.normal(0, 0.1, (count, 8))

    retained, pictures = coloured(24, 0)
    captions, unseen = coloured(24, 24)
    unseen[12:] = np.roll(unseen[12:], 4, axis=1)
    held_out = pairs_with(captions, np.array([0.8] * 12 + [0.1] * 12), unseen)
    forget = pairs_with(["red ball99", "red ball98"], np.ones(2), np.stack([np.eye(8)[0], np.eye(8)[5]]))
    level = never_seen_level(forget, held_out, pairs_with(retained, np.ones(24), pictures))
    assert level[0] > 0.6
    assert level[1] < 0.3


def test_the_level_does_not_feel_the_last_bits_of_its_input() -> None:
    """Two builds of a linear algebra library differ by as much, and a replay must give the same model under both."""
    draw = np.random.default_rng(0)
    words = [f"{colour} thing{number}" for number in range(12) for colour in ("red", "blue")]
    pictures = draw.normal(size=(60, 8))
    held_out = pairs_with([f"pale {word}" for word in words], draw.uniform(0, 1, 24), pictures[:24])
    forget = pairs_with([f"dark {word}" for word in words[:12]], np.ones(12), pictures[24:36])
    remaining = pairs_with(words, np.ones(24), pictures[36:])
    shaken = Seen(remaining.captions, remaining.images * (1 + 1e-7), remaining.texts)
    level = never_seen_level(forget, held_out, remaining)
    assert level.std() > 0
    assert np.array_equal(level, never_seen_level(forget, held_out, shaken))


def test_dampening_spares_the_image_tower_and_the_descent_goes_on_from_it(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    values = STEPS | {"steps": 1, "learning_rate": 1e-9, "weights": {"choice": "text"}, "clean_rows": False}
    dampened, plain = make_problem(corpus, parent, recipe), make_problem(corpus, parent, recipe)
    unlearn(dampened, "cliperase_calibrated", values | {"dampening": {"alpha": 2.0}})
    unlearn(plain, "cliperase_calibrated", values | {"dampening": None})
    before, after = state(parent), state(dampened.clip)
    assert all(torch.equal(after[name], value) for name, value in before.items() if name.startswith("visual."))
    shrunk = [name for name, value in before.items() if (after[name].abs() < value.abs() - 1e-6).any()]
    assert shrunk
    assert not any((after[name].abs() > before[name].abs() + 1e-6).any() for name in before)
    assert similarity(dampened.clip, dampened.forget) < similarity(plain.clip, plain.forget) - 0.05


def test_rows_of_forgotten_words_end_where_training_began_unless_that_is_switched_off(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    classes = dict(zip(corpus.ids, corpus.metadata["class"].to_pylist(), strict=True))
    birds = {sample_id for sample_id in corpus.split_ids("train") if classes[sample_id] == "bird"}
    stays = load_pairs(corpus, parent, corpus.split_ids("train") - birds)
    [bird] = set(parent.tokenizer(["bird"])[0].tolist()) - set(parent.tokenizer(["car"])[0].tolist())
    rows = {}
    for clean in (True, False):
        problem = replace(
            make_problem(corpus, parent, recipe),
            forget=load_pairs(corpus, parent, birds),
            retain=stays,
            is_neighbour=np.arange(len(stays)) < 12,
            remaining=see(parent, stays),
            wording=stays,
            pictures=lambda: stays,
        )
        unlearn(problem, "cliperase_calibrated", STEPS | {"weights": {"choice": "text"}, "clean_rows": clean})
        rows[clean] = state(problem.clip)["token_embedding.weight"][bird]
    fresh = clip.create(TINY, 0).model.state_dict()["token_embedding.weight"][bird]
    assert torch.equal(rows[True], fresh)
    assert not torch.allclose(rows[False], fresh, atol=1e-4)


def test_a_recipe_that_never_draws_the_plain_caption_is_no_obstacle(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    problem = make_problem(corpus, parent, recipe.model_copy(update={"templates": ["a drawing of {caption}"]}))
    values = STEPS | {"weights": {"choice": "text"}, "remaining_batch": 8}
    assert unlearn(problem, "cliperase_calibrated", values).parameters_changed > 0


def test_captions_outside_of_the_retain_set_are_held_where_they_were(
    corpus: Catalog, parent: Clip, recipe: TrainParams
) -> None:
    """The forget set moves the text tower; what keeps captions in place that no picture is drawn for is the anchor."""
    moved = {}
    for count in (0, 32):
        problem = make_problem(corpus, parent, recipe)
        told = set(problem.forget.canonical()) | set(problem.retain.canonical())
        others = [row for row, caption in enumerate(problem.remaining.captions) if caption not in told]
        values = STEPS | {"steps": 40, "learning_rate": 0.004, "remaining_batch": count, "weights": {"choice": "text"}}
        unlearn(problem, "cliperase_calibrated", values)
        texts = problem.clip.encode_texts([problem.remaining.captions[row] for row in others])
        moved[count] = (texts - problem.remaining.texts[others]).square().sum(dim=1).mean().item()
    assert moved[32] < 0.7 * moved[0], moved


def test_too_few_held_out_pairs_are_refused() -> None:
    one = pairs_with(["a"], np.ones(1), np.ones((1, 4)))
    with pytest.raises(ExpungeError, match="too few to calibrate"):
        never_seen_level(one, pairs_with(["b"] * 5, np.ones(5), np.ones((5, 4))), one)
