"""Which weights a method may change: a choice of its own, orthogonal to the loss.

The temperature is never among them: a batch full of forget samples and their neighbours would move it for everybody.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

from torch import Tensor, nn

from expunge.models.loss import TEMPERATURE
from expunge.models.low_rank import low_rank_updates
from expunge.models.towers import is_image
from expunge.project.errors import ExpungeError
from expunge.unlearning.method import Descent
from expunge.unlearning.projections import projection_weights
from expunge.unlearning.saliency import only_salient
from expunge.unlearning.settings import WeightsParams

BLOCK = re.compile(r"(?:.*\.)?(?:resblocks|blocks|layers|layer\d?)\.\d+(?=\.)")
"""The path of the residual block that a weight belongs to, at the start of the weight's name."""


@contextmanager
def trained_weights(
    method: Descent, params: WeightsParams, tokenize: Callable[[Sequence[str]], Tensor]
) -> Iterator[list[nn.Parameter]]:
    """Inside the block only the chosen weights of the method's model ask for gradients; yields them.

    Args:
        tokenize: captions → token ids that the model knows at the moment.

    Raises:
        ExpungeError: the model has no weights of the chosen kind.
    """
    model = method.problem.clip.model
    asked = {name: weight.requires_grad for name, weight in model.named_parameters()}
    chosen = {name for name in weight_names(model, params) if asked[name]}
    low_rank = params.choice == "lora"
    for name, weight in model.named_parameters():
        weight.requires_grad_(name in chosen and not low_rank)
    try:
        if low_rank:
            with low_rank_updates(model, sorted(chosen), params.rank, method.problem.seed) as factors:
                yield factors
        else:
            trained = [weight for weight in model.parameters() if weight.requires_grad]
            with only_salient(method, trained, params.saliency, tokenize):
                yield trained
    finally:
        for name, weight in model.named_parameters():
            weight.requires_grad_(asked[name])


def learns_images(model: nn.Module) -> bool:
    """Whether any weight of the image tower is trained."""
    return any(weight.requires_grad for name, weight in model.named_parameters() if is_image(name))


def learns_texts(model: nn.Module) -> bool:
    """Whether any weight of the text tower is trained."""
    return any(
        weight.requires_grad
        for name, weight in model.named_parameters()
        if not is_image(name) and name not in TEMPERATURE
    )


def weight_names(model: nn.Module, params: WeightsParams) -> list[str]:
    """Names of the weights of the chosen kind.

    Raises:
        ExpungeError: the model has no weights of that kind.
    """
    names = [name for name, _ in model.named_parameters() if name not in TEMPERATURE]
    towers = [[name for name in names if is_image(name)], [name for name in names if not is_image(name)]]
    match params.choice:
        case "all":
            return names
        case "image":
            return towers[0]
        case "text":
            return towers[1]
        case "projections":
            return projection_weights(model)
        case "last_blocks":
            return [*_end_of(towers[0], params.blocks), *_end_of(towers[1], params.blocks), *projection_weights(model)]
        case "lora":
            matrices = {name for name, weight in model.named_parameters() if weight.ndim == 2}
            return [name for name in names if name in matrices and "embedding" not in name]


def _end_of(tower: Sequence[str], count: int) -> list[str]:
    """The weights of the last `count` blocks of a tower and those listed behind them.

    Towers list their modules in the order of the forward pass; only open_clip's text tower has its token embedding
    behind its blocks.
    """
    blocks = list(dict.fromkeys(found[0] for name in tower if (found := BLOCK.match(name))))
    if not blocks:
        raise ExpungeError("A tower of this model has no blocks to choose the last of; set `weights.choice` to `all`.")
    first = next(place for place, name in enumerate(tower) if name.startswith(f"{blocks[-count:][0]}."))
    return [name for name in tower[first:] if "token_embedding" not in name]
