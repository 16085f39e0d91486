"""Which weights a method may change: a choice of its own, orthogonal to the loss.

The temperature is never among them: a batch full of forget samples and their neighbours would move it for everybody.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from torch import nn

from expunge.unlearning.method import Method
from expunge.unlearning.parameters import WeightsParams

TEMPERATURE = ("logit_scale", "logit_bias")


@contextmanager
def trained_weights(method: Method, params: WeightsParams) -> Iterator[list[nn.Parameter]]:
    """Inside the block only the chosen weights of the method's model ask for gradients; yields them."""
    model = method.task.clip.model
    asked = {name: weight.requires_grad for name, weight in model.named_parameters()}
    chosen = _names(model, params)
    for name, weight in model.named_parameters():
        weight.requires_grad_(asked[name] and name in chosen)
    try:
        yield [weight for weight in model.parameters() if weight.requires_grad]
    finally:
        for name, weight in model.named_parameters():
            weight.requires_grad_(asked[name])


def _names(model: nn.Module, params: WeightsParams) -> set[str]:
    names = {name for name, _ in model.named_parameters() if name not in TEMPERATURE}
    image = {name for name in names if name.startswith("visual.")}
    match params.choice:
        case "image":
            return image
        case "text":
            return names - image
        case _:
            return names


def learns_images(model: nn.Module) -> bool:
    """Whether any weight of the image tower is trained."""
    return any(weight.requires_grad for name, weight in model.named_parameters() if name.startswith("visual."))


def learns_texts(model: nn.Module) -> bool:
    """Whether any weight of the text tower is trained."""
    return any(
        weight.requires_grad
        for name, weight in model.named_parameters()
        if not name.startswith("visual.") and name not in TEMPERATURE
    )
