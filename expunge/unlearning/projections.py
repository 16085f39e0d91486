"""The last linear maps into the joint space, one per tower, wherever an architecture keeps them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from operator import attrgetter
from typing import Literal

import torch
from torch import Tensor, nn

from expunge.project.errors import ExpungeError

Tower = Literal["image", "text"]

_PLACES: dict[Tower, tuple[str, ...]] = {
    # ViT; open_clip's ResNets; timm with a projection of open_clip's; timm with its own head (MobileCLIP, EVA).
    "image": ("visual.proj", "visual.attnpool.c_proj", "visual.head.proj", "visual.trunk.head.fc", "visual.trunk.head"),
    # OpenAI's layout; towers of their own; transformers with a linear map, and with two.
    "text": ("text_projection", "text.text_projection", "text.proj", "text.proj.2"),
}


def final_projection(model: nn.Module, tower: Tower) -> tuple[str, nn.Parameter | nn.Linear]:
    """Path and value of a tower's projection: a matrix [width, D] that features multiply from the left, or a layer.

    Raises:
        ExpungeError: there is none.
    """
    for place in _PLACES[tower]:
        try:
            found = attrgetter(place)(model)
        except AttributeError:
            continue
        if isinstance(found, nn.Parameter | nn.Linear):
            return place, found
    raise ExpungeError(f"The {tower} tower of this model does not end in a linear projection; choose another method.")


def projection_weights(model: nn.Module) -> list[str]:
    """Names of the weights of both projections."""
    names = []
    for tower in _PLACES:
        place, found = final_projection(model, tower)
        inside = (
            [f"{place}.{name}" for name, _ in found.named_parameters()] if isinstance(found, nn.Linear) else [place]
        )
        names += inside
    return names


@torch.no_grad()
def transform_output(projection: nn.Parameter | nn.Linear, matrix: Tensor) -> None:
    """Make a projection return `matrix @ e` (matrix [D, D]) where it returned e [D]."""
    matrix = matrix.to(next(projection.parameters()) if isinstance(projection, nn.Linear) else projection)
    if isinstance(projection, nn.Linear):
        projection.weight.copy_(matrix @ projection.weight)
        if projection.bias is not None:
            projection.bias.copy_(matrix @ projection.bias)
    else:
        projection.copy_(projection @ matrix.T)


@contextmanager
def without_projection(model: nn.Module, tower: Tower) -> Iterator[None]:
    """Inside the block the tower returns its features [B, width] as they are before the projection."""
    place, found = final_projection(model, tower)
    path, _, name = place.rpartition(".")
    substitute: nn.Parameter | nn.Linear
    if isinstance(found, nn.Linear):
        substitute = nn.Linear(found.in_features, found.in_features, bias=False)
        substitute.weight = nn.Parameter(torch.eye(found.in_features).to(found.weight))
    else:
        substitute = nn.Parameter(torch.eye(len(found)).to(found))
    setattr(model.get_submodule(path), name, substitute)
    try:
        yield
    finally:
        setattr(model.get_submodule(path), name, found)
