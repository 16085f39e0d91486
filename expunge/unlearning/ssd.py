"""Selective synaptic dampening (Foster et al., AAAI 2024, arXiv 2308.07707): shrink what only forgotten pairs need.

    F_D, F_f = mean squared gradients of the loss over retained and over forgotten pairs
    θ ← θ · min(λ · F_D / F_f, 1)   where F_f > α · F_D

One pass over the pairs, no descent. F_D is of all training data in the original, of the retain set here. The class
distribution of the original is the image↔text matching distribution of the parent over all captions and pictures of
the task: each pair is one example with a gradient of its own, so no batch size enters, and one forgotten pair is
enough. The temperature and the running statistics of BatchNorm stay as they are.
"""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn import functional as F

from expunge.clip import compact_vocabulary
from expunge.pairs import Pairs
from expunge.unlearning.method import Edit
from expunge.unlearning.parameters import SsdParams


class Ssd(Edit[SsdParams]):
    """Dampening by the ratio of two diagonal Fisher matrices."""

    def apply(self) -> list[dict[str, float]]:
        model, forget, retain = self.task.clip.model, self.task.forget, self.task.retain
        captions = forget.canonical() + retain.canonical()
        texts = self.task.clip.encode_texts(captions).clone().to(self.task.clip.device)
        images = torch.cat([self.teacher.forget_images, self.teacher.retain_images]).to(self.task.clip.device)
        with compact_vocabulary(self.task.clip, captions) as tokenize:
            weights = {
                name: weight
                for name, weight in model.named_parameters()
                if weight.requires_grad and name not in ("logit_scale", "logit_bias")
            }
            tokens = tokenize(captions)
            of_forget, loss = self._fisher(weights, forget, tokens, images, texts, 0)
            of_retain, _ = self._fisher(weights, retain, tokens, images, texts, len(forget))
            with torch.no_grad():
                for name, weight in weights.items():
                    weight.mul_(dampening(of_forget[name], of_retain[name], self.params.alpha, self.params.strength))
        return [{"step": 1, "loss": loss}]

    def _fisher(
        self, weights: dict[str, Tensor], pairs: Pairs, tokens: Tensor, images: Tensor, texts: Tensor, first: int
    ) -> tuple[dict[str, Tensor], float]:
        """Mean squared gradient of each weight and mean loss over `pairs`, the rows from `first` on of the others."""
        clip = self.task.clip
        squares = {name: torch.zeros_like(weight) for name, weight in weights.items()}
        total = 0.0
        clip.model.eval()
        for position in range(len(pairs)):
            row = torch.tensor([first + position], device=clip.device)
            image, text = clip.encode_pixels(pairs.images([position])), clip.encode_tokens(tokens[row.cpu()])
            by_image = F.cross_entropy(self.matching(image, texts), row)
            by_text = F.cross_entropy(self.matching(text, images), row)
            loss = (by_image + by_text) / 2
            gradients = torch.autograd.grad(loss, list(weights.values()))
            for square, gradient in zip(squares.values(), gradients, strict=True):
                square.addcmul_(gradient, gradient, value=1 / len(pairs))
            total += loss.item() / len(pairs)
        return squares, total


def dampening(of_forget: Tensor, of_retain: Tensor, alpha: float, strength: float) -> Tensor:
    """The factor in [0, 1] of each weight: 1 where it matters to forgotten pairs at most `alpha` times as much."""
    factor = (strength * of_retain / of_forget).clamp(max=1)
    return torch.where(of_forget > alpha * of_retain, factor, torch.ones_like(factor))
