"""Training on given pairs, from wherever the weights start: chosen weights, the recipe's loss, captions and optimizer.

The last stage of the recipe (`train.text_finish`) and many an unlearning method, which trains on what stays.
InfoNCE by the recipe's captions, templates, weight decay and schedule. Either side of a batch is run through the model,
or given as embeddings that were computed once. Randomness is drawn from generators seeded by (seed, epoch) and (seed,
step), so a run that was killed ends with the same bits.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn

from expunge.models.checkpoint import Checkpoint
from expunge.models.clip import Clip, autocast, compact_vocabulary
from expunge.models.loss import contrastive_loss
from expunge.models.originals import Key, Originals, augmented
from expunge.models.pairs import Pairs, Wording
from expunge.models.ranks import gathered, share, shared, whole_batch_statistics
from expunge.models.settings import AugmentationParams, ComputeParams, LessonParams, TrainParams
from expunge.models.towers import is_image
from expunge.models.training import (
    MAX_LOGIT_SCALE,
    draw_caption,
    drawn_motions,
    epoch_order,
    moved,
    parameter_groups,
    possible_captions,
    schedule,
)
from expunge.project.errors import ExpungeError
from expunge.project.progress import ProgressReport

CHECKPOINT_STEPS = 32


Images = Callable[[Clip, np.ndarray, int, slice], Tensor]


@dataclass(frozen=True)
class Lesson:
    """What weights are trained on: N pairs.

    Attributes:
        wording: what may be said of the pairs.
        images: (model, rows, step, share) → unit image embeddings [b, D] of `rows[share]`, what this process has of the
            batch; with gradient where they are run.
        recipe: how captions are drawn and weights decay.
        compute: device and precision.
        seed: of all draws.
        texts: captions → unit embeddings [B, D] that are given; None: the model's own text tower is run.
    """

    wording: Wording
    images: Images
    recipe: TrainParams
    compute: ComputeParams
    seed: int
    texts: Callable[[Sequence[str]], Tensor] | None = None

    def draw(self, step: int, batch_size: int) -> tuple[np.ndarray, list[str]]:
        """Rows and a caption for each: shuffled epochs as in training, cut into batches."""
        rows = self._epochs.rows(step, batch_size)
        draw = np.random.default_rng((self.seed, step, 1))
        return rows, [draw_caption(self.wording, row, self.recipe, draw) for row in rows]

    @cached_property
    def _epochs(self) -> Epochs:
        return Epochs(self.wording, self.recipe, self.seed)

    def captions(self, steps: int, batch_size: int) -> list[str]:
        """What the model has to be able to read, sorted: every caption that can be drawn, or, of more pairs than the
        steps have places, those that will be."""
        if steps * batch_size >= len(self.wording):
            return possible_captions(self.wording, self.recipe)
        return sorted({caption for step in range(steps) for caption in self.draw(step, batch_size)[1]})


@dataclass(frozen=True)
class Epochs:
    """Shuffled epochs of pairs, cut into batches; they depend on the pairs, the recipe and the seed alone."""

    wording: Wording
    recipe: TrainParams
    seed: int
    _orders: dict[int, np.ndarray] = field(default_factory=dict, init=False, repr=False, compare=False)

    def rows(self, step: int, batch_size: int) -> np.ndarray:
        """The rows of one batch, int64 [B]."""
        drawn = self._order(0).size
        size = min(batch_size, drawn)
        epoch, place = divmod(step, drawn // size)
        return self._order(epoch)[place * size : (place + 1) * size]

    def _order(self, epoch: int) -> np.ndarray:
        """Shuffling a large corpus takes longer than a step does, so the orders in use are kept."""
        if epoch not in self._orders:
            generator = np.random.default_rng((self.seed, epoch))
            kept = {0, epoch} & self._orders.keys()
            for other in self._orders.keys() - kept:
                del self._orders[other]
            self._orders[epoch] = epoch_order(self.wording, self.recipe, generator)
        return self._orders[epoch]


def is_text(name: str) -> bool:
    """Whether a weight is trained with the text tower: the temperature is, too."""
    return not is_image(name)


def given(images: Tensor) -> Images:
    """Image embeddings, float32 or float16 [N, D], that are known: no picture is run."""
    return lambda clip, rows, step, mine: images[torch.from_numpy(rows[mine])].to(clip.device).float()


def run(pictures: Pairs | Originals, recipe: TrainParams, seed: int, params: LessonParams) -> Images:
    """Pictures that are run through the model being trained, augmented by the recipe.

    Args:
        seed: of the lesson; by it and `params` the batches are known before they are asked for.
    """
    if isinstance(pictures, Originals):
        return _Ahead(pictures, recipe, seed, params)

    def encode(clip: Clip, rows: np.ndarray, step: int, mine: slice) -> Tensor:
        motions = drawn_motions(len(rows), recipe, np.random.default_rng((seed, step, 2)))
        return clip.encode_pixels(moved(pictures.images(rows[mine]), motions[mine]))

    return encode


class _Ahead:
    """Pictures that are decoded and augmented ahead (`train.aug_cfg`), from the step on that is asked for first."""

    def __init__(self, pictures: Originals, recipe: TrainParams, seed: int, params: LessonParams) -> None:
        self._pictures, self._seed, self._params = pictures, seed, params
        self._aug_cfg, self._epochs = recipe.aug_cfg or AugmentationParams(), Epochs(pictures, recipe, seed)
        self._batches: Iterator[Tensor] = iter(())
        self._next: int | None = None

    def __call__(self, clip: Clip, rows: np.ndarray, step: int, mine: slice) -> Tensor:
        if step != self._next:
            self._batches = augmented(self._pictures, self._aug_cfg, self._seed, self._keys(step))
        self._next = step + 1
        return clip.encode_pixels(next(self._batches))

    def _keys(self, first: int) -> Iterator[list[Key]]:
        for step in range(first, self._params.steps):
            rows = self._epochs.rows(step, self._params.batch_size)
            yield [(step, int(row)) for row in rows[share(len(rows))]]


def with_weights(clip: Clip, start: Clip, chosen: Callable[[str], bool]) -> Clip:
    """A copy of `clip` whose `chosen` weights and running statistics are those of `start`.

    Raises:
        ExpungeError: the two are not of the same shape.
    """
    new, other = clip.clone(), start.model.state_dict()
    try:
        new.model.load_state_dict(
            {name: other[name] if chosen(name) else value for name, value in new.model.state_dict().items()}
        )
    except (KeyError, RuntimeError):
        raise ExpungeError("The clean start does not fit the parent; name a model of the same shape.") from None
    new.model.eval()
    return new


def train_on(
    new: Clip,
    lesson: Lesson,
    params: LessonParams,
    chosen: Callable[[str], bool],
    checkpoint: Checkpoint | None = None,
    progress: ProgressReport | None = None,
    damping: Mapping[str, Tensor] | None = None,
) -> list[dict[str, float]]:
    """Train the `chosen` weights of `new` in place and return the curve, one row a step.

    Args:
        chosen: name of a weight → whether it is trained; BatchNorm follows the batches where its gains are.
        damping: name of a weight → the share of each step that its entries take, of the weight's shape.

    Raises:
        ExpungeError: the loss stopped being a number, or a batch cannot be shared by the processes that train.
    """
    recipe = lesson.recipe
    vocabulary = nullcontext(new.tokenizer)
    if lesson.texts is None:
        vocabulary = compact_vocabulary(new, lesson.captions(params.steps, params.batch_size))  # type: ignore[assignment]
    with vocabulary as tokenize, _only(new.model, chosen), whole_batch_statistics(new.model):
        loss_of = shared(new.model, _loss(new, lesson, tokenize))
        groups = parameter_groups(new.model, recipe)
        trained = [weight for group in groups for weight in group["params"]]
        optimizer = torch.optim.AdamW(groups, lr=params.learning_rate, betas=recipe.betas, fused=True)
        curve: list[dict[str, float]] = []
        if checkpoint and (position := checkpoint.load(new.model, optimizer)):
            curve = position["curve"]
        if progress and len(curve) < params.steps:
            progress(len(curve), params.steps)
        for step in range(len(curve), params.steps):
            for group in optimizer.param_groups:
                group["lr"] = params.learning_rate * schedule(step, params.steps, recipe.warmup_fraction)
            loss = loss_of(*lesson.draw(step, params.batch_size), step)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            nn.utils.clip_grad_norm_(trained, recipe.clip_gradient)
            with _damped(new.model, damping or {}):
                optimizer.step()
            new.model.logit_scale.data.clamp_(0, MAX_LOGIT_SCALE)
            curve.append({"step": step + 1, "loss": loss.item()})
            if not math.isfinite(curve[-1]["loss"]):
                raise ExpungeError(f"Training diverged at step {step + 1}; lower its learning_rate.")
            if progress:
                progress(step + 1, params.steps, curve[-1]["loss"])
            if checkpoint and ((step + 1) % CHECKPOINT_STEPS == 0 or step + 1 == params.steps):
                checkpoint.save(new.model, optimizer, {"curve": curve})
    return curve


def _loss(
    new: Clip, lesson: Lesson, tokenize: Callable[[Sequence[str]], Tensor]
) -> Callable[[np.ndarray, list[str], int], Tensor]:
    """Rows and captions of a batch, and the number of the step → the loss of the whole batch."""

    def loss(rows: np.ndarray, captions: list[str], step: int) -> Tensor:
        mine = share(len(rows))
        with autocast(new.device, lesson.compute):
            images = lesson.images(new, rows, step, mine)
            said = captions[mine]
            texts = lesson.texts(said) if lesson.texts else new.encode_tokens(tokenize(said))
        return contrastive_loss(gathered(images), gathered(texts.to(new.device)), new.model)

    return loss


@contextmanager
def _only(model: nn.Module, chosen: Callable[[str], bool]) -> Iterator[None]:
    """Inside the block only the chosen weights ask for gradients, and only their modules are in training mode."""
    asked = {name: weight.requires_grad for name, weight in model.named_parameters()}
    for name, weight in model.named_parameters():
        weight.requires_grad_(asked[name] and chosen(name))
    model.eval()
    for module in model.modules():
        module.training = any(weight.requires_grad for weight in module.parameters(recurse=False))
    try:
        yield
    finally:
        model.eval()
        for name, weight in model.named_parameters():
            weight.requires_grad_(asked[name])


@contextmanager
def _damped(model: nn.Module, damping: Mapping[str, Tensor]) -> Iterator[None]:
    """What the block adds to a weight is cut down to its share; Adam would rescale a smaller gradient."""
    before = {name: model.get_parameter(name).detach().clone() for name in damping}
    yield
    with torch.no_grad():
        for name, old in before.items():
            weight = model.get_parameter(name)
            weight.copy_(torch.lerp(old, weight, damping[name]))
