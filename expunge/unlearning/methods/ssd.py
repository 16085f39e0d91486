"""Selective synaptic dampening (Foster et al., AAAI 2024, arXiv 2308.07707): shrink what only forgotten pairs need.

    F_D, F_f = mean squared gradients of the loss over retained and over forgotten pairs
    θ ← θ · min(λ · F_D / F_f, 1)   where F_f > α · F_D

One pass over the pairs, no descent. F_D is of all training data in the original, of the retain set here. The class
distribution of the original is the image↔text matching distribution of the parent over all captions and pictures of
the problem. The temperature and the running statistics of BatchNorm stay as they are.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field

from expunge.models.clip import compact_vocabulary
from expunge.project.schema import Block
from expunge.unlearning.fisher import dampening, squared_gradients
from expunge.unlearning.method import Edit
from expunge.unlearning.weights import TEMPERATURE


class SsdParams(Block):
    """Weights that matter `alpha` times as much to forgotten pairs shrink; `strength` is the paper's λ."""

    alpha: Annotated[float, Field(gt=0)] = 10.0
    strength: Annotated[float, Field(gt=0)] = 1.0


class Ssd(Edit):
    """Dampening by the ratio of two diagonal Fisher matrices."""

    params: SsdParams

    def apply(self) -> list[dict[str, float]]:
        clip, forget, retain = self.problem.clip, self.problem.forget, self.problem.retain
        captions = forget.canonical() + retain.canonical()
        texts = clip.encode_texts(captions).clone().to(clip.device)
        images = torch.cat([self.teacher.forget_images, self.teacher.retain_images]).to(clip.device)
        with compact_vocabulary(clip, captions) as tokenize:
            weights = [
                weight
                for name, weight in clip.model.named_parameters()
                if weight.requires_grad and name not in TEMPERATURE
            ]
            forgotten, retained = range(len(forget)), range(len(forget), len(captions))
            of_forget, loss = squared_gradients(self, weights, forgotten, tokenize, images, texts)
            of_retain, _ = squared_gradients(self, weights, retained, tokenize, images, texts)
            with torch.no_grad():
                for weight, wanted, kept in zip(weights, of_forget, of_retain, strict=True):
                    weight.mul_(dampening(wanted, kept, self.params.alpha, self.params.strength))
        return [{"step": 1, "loss": loss}]
