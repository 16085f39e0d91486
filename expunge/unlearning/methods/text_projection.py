"""Text-image space adaptation (Kravets and Namboodiri, TMLR 2025): move forgotten texts to where the empty text is.

    min over ΔW = A B:  λ_f · mean_f ‖h_f (W + ΔW) − h_∅ W‖ + λ_r · mean_r ‖h_r ΔW‖ + λ_w · ‖ΔW‖

W is the text projection, h the features before it, h_∅ those of the empty text, ΔW of low rank. No picture is read.
The paper guards related classes that a language model lists; here retained captions are guarded. It takes the empty
text's embedding at unit length; here at its own, so that both sides are of one scale.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from expunge.project.schema import Block
from expunge.unlearning.method import Edit
from expunge.unlearning.projections import final_projection, without_projection
from expunge.unlearning.settings import Weight
from expunge.unlearning.wording import split_captions


class TextProjectionParams(Block):
    """Weights of the three lengths, and the optimisation of the low-rank update."""

    forgetting_weight: Weight = 1.2
    retention_weight: Weight = 0.3
    size_weight: Weight = 1.0
    rank: Annotated[int, Field(ge=1)] = 5
    steps: Annotated[int, Field(ge=1)] = 300
    learning_rate: Annotated[float, Field(gt=0)] = 0.01


class TextProjection(Edit):
    """A short optimisation over cached text features."""

    params: TextProjectionParams

    def apply(self) -> list[dict[str, float]]:
        _, projection = final_projection(self.problem.clip.model, "text")
        matrix = projection.weight.T if isinstance(projection, nn.Linear) else projection
        forgotten, retained = (self._features(texts) for texts in split_captions(self.problem))
        update, curve = self._optimise(forgotten, retained, self._features([""]), matrix.detach())
        with torch.no_grad():
            matrix += update
        return curve

    def _optimise(
        self, forgotten: Tensor, retained: Tensor, empty: Tensor, matrix: Tensor
    ) -> tuple[Tensor, list[dict[str, float]]]:
        """The update [width, D] and its curve."""
        params = self.params
        width, dim = matrix.shape
        generator = torch.Generator().manual_seed(self.problem.seed)
        down = (torch.randn(width, params.rank, generator=generator) / width**0.5).to(matrix).requires_grad_()
        up = matrix.new_zeros(params.rank, dim).requires_grad_()
        optimizer = torch.optim.Adam([down, up], lr=params.learning_rate)
        away = (forgotten - empty) @ matrix
        curve = []
        for step in range(params.steps):
            terms = {
                "forgetting": params.forgetting_weight * _mean_length(away + forgotten @ down @ up),
                "retention": params.retention_weight * _mean_length(retained @ down @ up),
                "size": params.size_weight * torch.linalg.matrix_norm(down @ up),
            }
            loss = sum(terms.values())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
            curve.append({"step": step + 1, "loss": loss.item()} | {name: term.item() for name, term in terms.items()})
        return (down @ up).detach(), curve

    @torch.no_grad()
    def _features(self, texts: Sequence[str]) -> Tensor:
        """Features [N, width] of `texts` before the projection."""
        clip = self.problem.clip
        with without_projection(clip.model, "text"):
            tokens = clip.tokenizer(list(texts)).to(clip.device)
            return torch.cat([clip.model.encode_text(batch, normalize=False).float() for batch in tokens.split(256)])


def _mean_length(rows: Tensor) -> Tensor:
    return torch.linalg.vector_norm(rows, dim=1).mean()
