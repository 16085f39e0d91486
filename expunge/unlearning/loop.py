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

from expunge.checkpoint import Checkpoint
from expunge.clip import Clip, autocast, compact_vocabulary
from expunge.errors import ExpungeError
from expunge.training import draw_caption, schedule
from expunge.unlearning import registry
from expunge.unlearning.method import Batch, Captions, Descent, Edit, Side
from expunge.unlearning.parameters import LoopParams
from expunge.unlearning.task import Task, Teacher
from expunge.unlearning.weights import learns_images, learns_texts, trained_weights

CHECKPOINT_STEPS = 50


@dataclass(frozen=True)
class Outcome:
    """What unlearning leaves behind.

    Attributes:
        clip: the new model.
        curve: one row a step: `step`, `loss` and the method's terms.
        parameters_changed: how many scalar weights differ from the parent's.
    """

    clip: Clip
    curve: list[dict[str, float]]
    parameters_changed: int


def unlearn(
    task: Task,
    name: str,
    values: dict[str, Any],
    checkpoint: Checkpoint | None = None,
    progress: Callable[[int, int, float], None] | None = None,
) -> Outcome:
    """Make the task's model forget by method `name` with hyper-parameters `values`.

    Raises:
        ExpungeError: the loss stopped being a number.
        ValueError: the method or a hyper-parameter is unknown.
    """
    params = registry.parameters(name, values)
    before = {key: value.clone() for key, value in task.clip.model.state_dict().items()}
    if method := registry.method(name):
        chosen = method(params, task, Teacher(task))
        clip = task.clip
        curve = chosen.apply() if isinstance(chosen, Edit) else _descend(task, chosen, params, checkpoint, progress)
    else:
        clip, rows = task.from_scratch()
        curve = [{"step": row.step, "loss": row.loss} for row in rows]
    after = clip.model.state_dict()
    changed = sum(int((after[key] != value).sum()) for key, value in before.items())
    return Outcome(clip, curve, changed)


def _descend(
    task: Task,
    method: Descent,
    params: LoopParams,
    checkpoint: Checkpoint | None,
    progress: Callable[[int, int, float], None] | None,
) -> list[dict[str, float]]:
    task.clip.model.eval()
    method.teacher.answer_all()
    with (
        compact_vocabulary(task.clip, _vocabulary(task, method, params)) as tokenize,
        trained_weights(method, params.weights, tokenize) as trained,
    ):
        method.begin(trained, tokenize)
        curve = _steps(task, method, params, trained, tokenize, checkpoint, progress)
    method.finish()
    return curve


def _vocabulary(task: Task, method: Descent, params: LoopParams) -> list[str]:
    """Every caption that a step may draw."""
    return method.teacher.captions + (task.remaining.captions if params.remaining_batch else [])


def _steps(
    task: Task,
    method: Descent,
    params: LoopParams,
    trained: Sequence[nn.Parameter],
    tokenize: Callable[[Sequence[str]], Tensor],
    checkpoint: Checkpoint | None,
    progress: Callable[[int, int, float], None] | None,
) -> list[dict[str, float]]:
    model = task.clip.model
    optimizer = torch.optim.Adam(trained, lr=params.learning_rate, betas=(0.9, 0.98), fused=True)
    curve: list[dict[str, float]] = []
    if checkpoint and (position := checkpoint.load(model, optimizer)):
        curve = position["curve"]
    for step in range(len(curve), params.steps):
        draw = np.random.default_rng((task.seed, step))
        for group in optimizer.param_groups:
            group["lr"] = params.learning_rate * schedule(step, params.steps, warmup_fraction=0.1)
        with autocast(task.clip.device, task.compute):
            batch = _batch(task, method.teacher, params, tokenize, step, draw)
        terms = method.losses(batch)
        optimizer.zero_grad(set_to_none=True)
        method.backward(terms, trained)
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        row = {"step": step + 1, "loss": sum(terms.values()).item()}
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
    task: Task,
    teacher: Teacher,
    params: LoopParams,
    tokenize: Callable[[Sequence[str]], Tensor],
    step: int,
    draw: np.random.Generator,
) -> Batch:
    forget = _round_robin(len(task.forget), params.forget_batch, step, task.seed)
    neighbours = min(round(params.retain_batch * params.neighbour_share), int(task.is_neighbour.sum()))
    retain = np.concatenate(
        [
            _sample(np.flatnonzero(task.is_neighbour), neighbours, draw),
            _sample(np.flatnonzero(~task.is_neighbour), params.retain_batch - neighbours, draw),
        ]
    )
    captions = [draw_caption(task.forget, position, task.training, draw) for position in forget]
    captions += [draw_caption(task.retain, position, task.training, draw) for position in retain]
    drawn = _sample(np.arange(len(task.remaining.captions)), params.remaining_batch, draw)
    parent_images = torch.cat([teacher.forget_images[forget], teacher.retain_images[retain]]).to(task.clip.device)
    parent_texts = torch.cat([teacher.texts(captions), task.remaining.texts[drawn]]).to(task.clip.device)
    captions += [task.remaining.captions[position] for position in drawn]
    images, texts = parent_images, parent_texts
    if learns_images(task.clip.model):
        images = task.clip.encode_pixels(torch.cat([task.forget.images(forget), task.retain.images(retain)]))
    if learns_texts(task.clip.model):
        texts = task.clip.encode_tokens(tokenize(captions))
    sides = [
        Side(torch.from_numpy(positions), images[rows], texts[rows], parent_images[rows], parent_texts[rows])
        for positions, rows in ((forget, slice(len(forget))), (retain, slice(len(forget), len(images))))
    ]
    remaining = Captions(texts[len(images) :], parent_texts[len(images) :])
    return Batch(*sides, remaining, step, step / params.steps)


def _round_robin(count: int, size: int, step: int, seed: int) -> np.ndarray:
    """The step's share of a forget set that is walked through in shuffled rounds: every pair gets its turn."""
    size = min(size, count)
    rounds = math.ceil(count / size)
    order = np.random.default_rng((seed, step // rounds, 1)).permutation(count)
    return np.sort(np.resize(order, rounds * size)[(step % rounds) * size : (step % rounds + 1) * size])


def _sample(pool: np.ndarray, count: int, draw: np.random.Generator) -> np.ndarray:
    return np.sort(draw.choice(pool, min(count, len(pool)), replace=False))
