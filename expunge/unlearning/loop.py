"""The one loop in which every gradient method runs.

Each step draws forget and retain pairs, runs both through the model in one batch and minimises the method's terms.
The model stays in evaluation mode: a batch full of forget samples and their neighbours would otherwise move the
running statistics of BatchNorm and wreck retention. The temperature is frozen for the same reason. Adam without
weight decay: decay would also move weights that the loss does not touch. A tower of which no weight is trained gives
what it gave before, so it is not run again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip, autocast, compact_vocabulary
from expunge.models.training import draw_caption, schedule
from expunge.project.errors import ExpungeError
from expunge.project.progress import ProgressReport
from expunge.unlearning import registry
from expunge.unlearning.method import Batch, Captions, Descent, Edit, Rebuild, Side, total
from expunge.unlearning.problem import Problem, Teacher
from expunge.unlearning.settings import LoopParams
from expunge.unlearning.weights import learns_images, learns_texts, trained_weights

CHECKPOINT_STEPS = 50


@dataclass(frozen=True)
class Unlearned:
    """What unlearning leaves behind.

    Attributes:
        clip: the new model.
        curve: one row per step: `step`, `loss` and the method's terms.
        parameters_changed: how many scalar weights differ from the parent's.
    """

    clip: Clip
    curve: list[dict[str, float]]
    parameters_changed: int


def unlearn(
    problem: Problem,
    name: str,
    values: dict[str, Any],
    checkpoint: Checkpoint | None = None,
    progress: ProgressReport | None = None,
) -> Unlearned:
    """Make the problem's model forget by method `name` with hyper-parameters `values`.

    Raises:
        ExpungeError: the loss stopped being a number.
        ValueError: the method or a hyper-parameter is unknown.
    """
    params = registry.parameters(name, values)
    before = {key: value.clone() for key, value in problem.clip.model.state_dict().items()}
    method = registry.method(name)(params, problem, Teacher(problem))
    clip = problem.clip
    if isinstance(method, Rebuild):
        clip, curve = method.build(checkpoint, progress)
    elif isinstance(method, Edit):
        curve = method.apply()
    else:
        curve = _descend(problem, method, checkpoint, progress)
    after = clip.model.state_dict()
    changed = sum(int((after[key] != value).sum()) for key, value in before.items())
    return Unlearned(clip, curve, changed)


def _descend(
    problem: Problem,
    method: Descent,
    checkpoint: Checkpoint | None,
    progress: ProgressReport | None,
) -> list[dict[str, float]]:
    params = method.params
    problem.clip.model.eval()
    method.teacher.answer_all()
    with (
        compact_vocabulary(problem.clip, _vocabulary(problem, method, params)) as tokenize,
        trained_weights(method, params.weights, tokenize) as trained,
    ):
        method.begin(trained, tokenize)
        curve = _steps(problem, method, params, trained, tokenize, checkpoint, progress)
    method.finish()
    return curve


def _vocabulary(problem: Problem, method: Descent, params: LoopParams) -> list[str]:
    """Every caption that a step may draw."""
    return method.teacher.captions + (problem.remaining.captions if params.remaining_batch else [])


def _steps(
    problem: Problem,
    method: Descent,
    params: LoopParams,
    trained: Sequence[nn.Parameter],
    tokenize: Callable[[Sequence[str]], Tensor],
    checkpoint: Checkpoint | None,
    progress: ProgressReport | None,
) -> list[dict[str, float]]:
    model = problem.clip.model
    optimizer = torch.optim.Adam(trained, lr=params.learning_rate, betas=(0.9, 0.98), fused=True)
    curve: list[dict[str, float]] = []
    if checkpoint and (position := checkpoint.load(model, optimizer)):
        curve = position["curve"]
    if progress:
        progress(len(curve), params.steps)
    for step in range(len(curve), params.steps):
        draw = np.random.default_rng((problem.seed, step))
        for group in optimizer.param_groups:
            group["lr"] = params.learning_rate * schedule(step, params.steps, warmup_fraction=0.1)
        with autocast(problem.clip.device, problem.compute):
            batch = _batch(problem, method.teacher, params, tokenize, step, draw)
        terms = method.losses(batch)
        optimizer.zero_grad(set_to_none=True)
        method.backward(terms, trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        row = {"step": step + 1, "loss": total(terms.values()).item()}
        row |= {term: value.item() for term, value in terms.items()}
        if not math.isfinite(row["loss"]):
            raise ExpungeError(f"Unlearning diverged at step {step + 1}; lower its learning_rate.")
        curve.append(row)
        if progress:
            progress(step + 1, params.steps, row["loss"])
        if checkpoint and (step + 1) % CHECKPOINT_STEPS == 0 and step + 1 < params.steps:
            checkpoint.save(model, optimizer, {"curve": curve})
    return curve


def _batch(
    problem: Problem,
    teacher: Teacher,
    params: LoopParams,
    tokenize: Callable[[Sequence[str]], Tensor],
    step: int,
    draw: np.random.Generator,
) -> Batch:
    forget = _round_robin(len(problem.forget), params.forget_batch, step, problem.seed)
    neighbours = min(round(params.retain_batch * params.neighbour_share), int(problem.is_neighbour.sum()))
    retain = np.concatenate(
        [
            _sample(np.flatnonzero(problem.is_neighbour), neighbours, draw),
            _sample(np.flatnonzero(~problem.is_neighbour), params.retain_batch - neighbours, draw),
        ]
    )
    captions = [draw_caption(problem.forget, position, problem.training, draw) for position in forget]
    captions += [draw_caption(problem.retain, position, problem.training, draw) for position in retain]
    drawn = _sample(np.arange(len(problem.remaining.captions)), params.remaining_batch, draw)
    parent_images = torch.cat([teacher.forget_images[forget], teacher.retain_images[retain]]).to(problem.clip.device)
    parent_texts = torch.cat([teacher.texts(captions), problem.remaining.texts[drawn].float()]).to(problem.clip.device)
    captions += [problem.remaining.captions[position] for position in drawn]
    images, texts = parent_images, parent_texts
    if learns_images(problem.clip.model):
        images = problem.clip.encode_pixels(torch.cat([problem.forget.images(forget), problem.retain.images(retain)]))
    if learns_texts(problem.clip.model):
        texts = problem.clip.encode_tokens(tokenize(captions))
    forgotten, retained = (
        Side(torch.from_numpy(positions), images[rows], texts[rows], parent_images[rows], parent_texts[rows])
        for positions, rows in ((forget, slice(len(forget))), (retain, slice(len(forget), len(images))))
    )
    remaining = Captions(texts[len(images) :], parent_texts[len(images) :])
    return Batch(forgotten, retained, remaining, step, step / params.steps)


def _round_robin(count: int, size: int, step: int, seed: int) -> np.ndarray:
    """The step's share of a forget set that is walked through in shuffled rounds: every pair gets its turn."""
    size = min(size, count)
    rounds = math.ceil(count / size)
    order = np.random.default_rng((seed, step // rounds, 1)).permutation(count)
    return np.sort(np.resize(order, rounds * size)[(step % rounds) * size : (step % rounds + 1) * size])


def _sample(pool: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    return np.sort(draw.choice(pool, min(count, len(pool)), replace=False))
