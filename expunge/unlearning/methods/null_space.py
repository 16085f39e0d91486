"""Projection onto the null space of the forgotten texts, in closed form, without training.

With T_f the unit text embeddings (rows) of forgotten captions in all templates and T_r those of everything that
stays, as the parent's store holds them, Pᵀ follows the image tower's last linear map:

    μ = 0:  P = I − α U Uᵀ,  U an orthonormal basis of the span of T_f
    μ > 0:  P = I + α (Q − I),  Q = (μ C_r + ε I) (C_f + μ C_r + ε I)⁻¹,  C = TᵀT / rows
            Q minimises  mean ‖Q t_f‖² + μ · mean ‖Q t_r − t_r‖² + ε ‖Q − I‖²

The first is "Erasing CLIP Memories" (arXiv 2512.14137); retained texts enter there too, in a form that was not
accessible, so the second is a natural reading of it. U keeps the leading directions that hold `energy` of the texts'
sum of squares: hundreds of captions span the whole space.

Only images are projected. x · P t = Pᵀx · t, so the dot products are those of projected texts, but a text inside the
span would keep its direction under I − α U Uᵀ, and normalisation would give it its length back.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor

from expunge.project.schema import Block
from expunge.unlearning.method import Edit
from expunge.unlearning.projections import final_projection, transform_output
from expunge.unlearning.settings import Weight
from expunge.unlearning.wording import split_captions


class NullSpaceParams(Block):
    """`retain_weight` 0 is the plain projection, which uses `energy`; above 0 retained texts count, with `ridge`."""

    strength: Annotated[float, Field(gt=0, le=1)] = 1.0
    retain_weight: Weight = 0.0
    energy: Annotated[float, Field(gt=0, le=1)] = 0.9
    ridge: Annotated[float, Field(gt=0)] = 1e-4


class NullSpace(Edit):
    """One matrix product with the image projection."""

    params: NullSpaceParams

    def apply(self) -> list[dict[str, float]]:
        forgotten = self.problem.clip.encode_texts(split_captions(self.problem)[0]).double()
        retained = self.problem.remaining.texts.double()
        identity = torch.eye(self.problem.clip.embed_dim, dtype=torch.float64)
        if self.params.retain_weight:
            kept = retain_aware(forgotten, retained, self.params.retain_weight, self.params.ridge)
        else:
            basis = leading_directions(forgotten, self.params.energy)
            kept = identity - basis @ basis.T
        matrix = identity + self.params.strength * (kept - identity)
        transform_output(final_projection(self.problem.clip.model, "image")[1], matrix.T)
        return [{"step": 1, "loss": (forgotten @ matrix.T).square().sum(dim=1).mean().item()}]


def leading_directions(rows: Tensor, energy: float) -> Tensor:
    """Orthonormal columns [D, k]: the fewest leading directions that hold `energy` of the sum of squares of `rows`."""
    _, values, directions = torch.linalg.svd(rows, full_matrices=False)
    held = values.square().cumsum(0) / values.square().sum()
    return directions[: int((held < energy).sum()) + 1].T


def retain_aware(forgotten: Tensor, retained: Tensor, retain_weight: float, ridge: float) -> Tensor:
    """Q [D, D] of the module's docstring for unit texts [F, D] and [R, D]."""
    identity = torch.eye(forgotten.shape[1], dtype=forgotten.dtype)
    forget = forgotten.T @ forgotten / len(forgotten)
    keep = retain_weight * retained.T @ retained / len(retained) + ridge * identity
    return torch.linalg.solve(forget + keep, keep).T
