"""Calibrated CLIPErase: forget down to the level of pairs that were never seen, and no further.

CLIPErase drives the similarity of forgotten pairs as low as it can and takes their neighbours along; the result is
recognisable as a model that was made to forget. A model that never saw a pair still places it somewhere sensible. So
this method goes in two strides. First the weights that matter to the forgotten pairs alone are dampened, which takes
the memory away and hardly touches what stays, but leaves the pairs wherever it happens to (`fisher`). Then a short
descent brings each pair to its level, with a forgetting module that has a floor:

    L_FM = mean_n (cos_n − c*_n)²

where c*_n is what `calibration` expects of pair n had it never been seen. Retention and consistency are CLIPErase's. An
anchor keeps embeddings where the parent had them, those of retained pairs r and of captions k drawn from everything
that stays, which costs no picture:

    L_A = mean_r (‖x_r − x°_r‖² + ‖t_r − t°_r‖²) + mean_k ‖t_k − t°_k‖²
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated

import numpy as np
import torch
from pydantic import Field
from torch import Tensor, nn

from expunge.models.network import text_tower
from expunge.models.training import possible_captions
from expunge.project.schema import Block
from expunge.unlearning.calibration import never_seen_level
from expunge.unlearning.fisher import dampening, squared_gradients
from expunge.unlearning.method import Batch, Captions, Descent, Side
from expunge.unlearning.problem import Problem, Teacher
from expunge.unlearning.settings import LoopParams, Weight


class DampeningParams(Block):
    """Ahead of a descent; the Fisher information is that of `pairs` pairs of each kind at most."""

    alpha: Annotated[float, Field(gt=0)] = 30.0
    strength: Annotated[float, Field(gt=0)] = 1.0
    pairs: Annotated[int, Field(ge=1)] = 1024


class CalibratedParams(LoopParams):
    """Weights of the calibrated variant.

    `dampening: null` leaves out what comes before the descent, `clean_rows: false` leaves the rows of forgotten words
    where dampening and descent put them, for whoever reads the weights.
    """

    retention_weight: Weight = 1.0
    forgetting_weight: Weight = 60.0
    consistency_weight: Weight = 3.0
    anchor_weight: Weight = 60.0
    dampening: DampeningParams | None = DampeningParams()
    clean_rows: bool = True


class CalibratedClipErase(Descent):
    """The default method."""

    params: CalibratedParams

    def __init__(self, params: CalibratedParams, problem: Problem, teacher: Teacher) -> None:
        super().__init__(params, problem, teacher)
        self.level = torch.from_numpy(never_seen_level(teacher.forget, teacher.held_out, problem.remaining)).float()

    def begin(self, trained: Sequence[nn.Parameter], tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        if self.params.dampening:
            self._dampen(self.params.dampening, trained, tokenize)
        if self.params.clean_rows:
            self._clean_rows(trained, tokenize)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        level = self.level[batch.forget.positions].to(batch.forget.images.device)
        return {
            "forgetting": self.params.forgetting_weight * (batch.forget.similarities - level).square().mean(),
            "retention": self.params.retention_weight * self.retention(batch.retain),
            "consistency": self.params.consistency_weight * self.distillation(batch.retain),
            "anchor": self.params.anchor_weight * self._anchor(batch.retain, batch.remaining),
        }

    def _dampen(
        self,
        params: DampeningParams,
        trained: Sequence[nn.Parameter],
        tokenize: Callable[[Sequence[str]], Tensor],
    ) -> None:
        clip, forget, retain = self.problem.clip, len(self.problem.forget), len(self.problem.retain)
        images = torch.cat([self.teacher.forget_images, self.teacher.retain_images]).to(clip.device)
        retained = self.teacher.texts(self.problem.retain.canonical())
        texts = torch.cat([self.teacher.forget.texts, retained]).to(clip.device)
        of_forget, of_retain = (
            squared_gradients(self, trained, rows, tokenize, images, texts)[0]
            for rows in (self._some(forget, params.pairs), forget + self._some(retain, params.pairs))
        )
        with torch.no_grad():
            for weight, wanted, kept in zip(trained, of_forget, of_retain, strict=True):
                weight.mul_(dampening(wanted, kept, params.alpha, params.strength))

    def _clean_rows(self, trained: Sequence[nn.Parameter], tokenize: Callable[[Sequence[str]], Tensor]) -> None:
        """Rows of tokens that no retained caption has go back to where training began, and stay there.

        A model that never saw those captions has them there; rows that were dampened or moved would name the words.
        """
        tower = text_tower(self.problem.clip.model)
        if tower is None or not any(weight is tower.token_embedding.weight for weight in trained):
            return
        own, kept = (
            possible_captions(wording, self.problem.training) for wording in (self.problem.forget, self.problem.wording)
        )
        whole = self.problem.clip.tokenizer(own).flatten()
        place = dict(zip(whole.tolist(), tokenize(own).flatten().tolist(), strict=True))
        only = sorted(set(whole.tolist()) - set(self.problem.clip.tokenizer(kept).flatten().tolist()))
        start = text_tower(self.problem.clean_start(self.problem.seed).model)
        if not only or start is None:
            return
        weight = tower.token_embedding.weight
        rows = torch.tensor([place[token] for token in only], device=weight.device)
        with torch.no_grad():
            weight[rows] = start.token_embedding.weight[only].to(weight)
        weight.register_hook(lambda gradient: gradient.index_fill(0, rows, 0.0))

    def _some(self, count: int, most: int) -> np.ndarray:
        return np.sort(np.random.default_rng(self.problem.seed).permutation(count)[:most])

    @staticmethod
    def _anchor(retained: Side, remaining: Captions) -> Tensor:
        moved = (retained.images - retained.parent_images).square().sum(dim=1)
        moved = moved + (retained.texts - retained.parent_texts).square().sum(dim=1)
        if not len(remaining.texts):
            return moved.mean()
        return moved.mean() + (remaining.texts - remaining.parent_texts).square().sum(dim=1).mean()
