"""SLUG (Cai et al., ICML 2025, arXiv 2407.11867): one gradient, one layer, one line search.

    importance(l) = ‖g_f,l‖ / ‖θ_l‖,  alignment(l) = |cos(g_f,l , g_r,l)|,  θ_l ← θ_l − λ g_f,l

g_f is the gradient of the forgotten pairs' mean cosine, g_r that of the retained pairs' contrastive loss, once over all
pairs. Candidates are, in each tower, the layers on the Pareto front of great importance and small alignment; biases,
gains and embeddings are none. λ starts at ‖θ_l‖ / (10 ‖g_f,l‖), doubles until the forgotten pictures no longer find
their captions, and is bisected. Of the candidates the one that then keeps most of the retained pictures' recall wins.

The paper's search reads the evaluation data; this one reads training pairs only, forgotten and retained ones.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn

from expunge.models.loss import contrastive_loss
from expunge.models.pairs import Pairs
from expunge.models.towers import is_image
from expunge.project.schema import Block
from expunge.unlearning.method import Edit


class SlugParams(Block):
    """The line search: it stops at `target_recall` of the forgotten pictures, after `evaluations` at most."""

    batch: Annotated[int, Field(ge=2)] = 128
    evaluations: Annotated[int, Field(ge=1)] = 10
    target_recall: Annotated[float, Field(ge=0, le=1)] = 0.0


@dataclass(frozen=True)
class Layer:
    """One weight matrix or kernel with what the method knows of it."""

    name: str
    weight: nn.Parameter
    gradient: Tensor
    importance: float
    alignment: float


class Slug(Edit):
    """Single layer unlearning gradient."""

    params: SlugParams

    def apply(self) -> list[dict[str, float]]:
        self.parent_texts = self._texts()
        curve: list[dict[str, float]] = []
        found = [self._search(layer, curve) for layer in self._candidates()]
        # The least recall of what is to go first, then the most of what is to stay.
        _, layer, edited = min(found, key=lambda entry: entry[0])
        with torch.no_grad():
            layer.weight.copy_(edited)
        return curve

    def _candidates(self) -> list[Layer]:
        named = {
            name: weight
            for name, weight in self.problem.clip.model.named_parameters()
            if weight.requires_grad and weight.ndim >= 2 and "embedding" not in name
        }
        forget = self._gradient(self.problem.forget, named, lambda images, texts: (images * texts).sum(dim=1).mean())
        model = self.problem.clip.model
        retain = self._gradient(
            self.problem.retain, named, lambda images, texts: contrastive_loss(images, texts, model)
        )
        layers = [
            Layer(
                name,
                weight,
                forget[name],
                (forget[name].norm() / weight.detach().norm()).item(),
                abs(torch.cosine_similarity(forget[name].flatten(), retain[name].flatten(), dim=0).item()),
            )
            for name, weight in named.items()
            if forget[name].any()
        ]
        return [layer for image in (True, False) for layer in pareto([x for x in layers if is_image(x.name) == image])]

    def _gradient(
        self, pairs: Pairs, named: dict[str, nn.Parameter], loss: Callable[[Tensor, Tensor], Tensor]
    ) -> dict[str, Tensor]:
        """The gradient of `loss` of images and texts, mean over all pairs."""
        total = {name: torch.zeros_like(weight) for name, weight in named.items()}
        for images, texts, share in self._batches(pairs):
            parts = torch.autograd.grad(
                share * loss(images, texts), list(named.values()), allow_unused=True, materialize_grads=True
            )
            total = {name: total[name] + part for name, part in zip(named, parts, strict=True)}
        return total

    def _batches(self, pairs: Pairs) -> Iterator[tuple[Tensor, Tensor, float]]:
        clip = self.problem.clip
        for positions in torch.arange(len(pairs)).split(self.params.batch):
            images = clip.encode_pixels(pairs.images(positions.numpy()))
            texts = clip.encode_tokens(clip.tokenizer(pairs.canonical(positions.tolist())))
            yield images, texts, len(positions) / len(pairs)

    @torch.no_grad()
    def _search(self, layer: Layer, curve: list[dict[str, float]]) -> tuple[tuple[float, float], Layer, Tensor]:
        """The layer's best edit and its merit (forget recall, minus retain recall); the layer is left as it was."""
        start = layer.weight.clone()
        step, low, high = (start.norm() / (10 * layer.gradient.norm())).item(), 0.0, None
        for _ in range(self.params.evaluations):
            layer.weight.copy_(start - step * layer.gradient)
            curve.append({"step": len(curve) + 1, "loss": self._recall(layer, self.problem.forget)})
            if curve[-1]["loss"] <= self.params.target_recall:
                high = step
            else:
                low = step
            step = 2 * step if high is None else (low + high) / 2
        edited = start - (high or low) * layer.gradient
        layer.weight.copy_(edited)
        merit = self._recall(layer, self.problem.forget), -self._recall(layer, self.problem.retain)
        layer.weight.copy_(start)
        return merit, layer, edited

    def _recall(self, layer: Layer, pairs: Pairs) -> float:
        """Share of pictures whose caption beats those of all forgotten and retained pairs; equal scores count against.

        Only the tower of `layer` is encoded anew.
        """
        clip, forgotten = self.problem.clip, pairs is self.problem.forget
        if is_image(layer.name):
            blocks = torch.arange(len(pairs)).split(self.params.batch)
            images = torch.cat([clip.encode_images(pairs.images(block.numpy())) for block in blocks])
            texts = self.parent_texts
        else:
            images = self.teacher.forget_images if forgotten else self.teacher.retain_images
            texts = self._texts()
        rows = torch.arange(len(pairs))
        scores = images @ texts.T
        right = scores[rows, rows + (0 if forgotten else len(self.problem.forget))]
        return ((scores >= right[:, None]).sum(dim=1) == 1).double().mean().item()

    def _texts(self) -> Tensor:
        return self.problem.clip.encode_texts(self.problem.forget.canonical() + self.problem.retain.canonical())


def pareto(layers: list[Layer]) -> list[Layer]:
    """Layers that no other one beats in both importance and alignment, in the order given."""
    return [
        layer
        for layer in layers
        if not any(
            other.importance >= layer.importance
            and other.alignment <= layer.alignment
            and (other.importance, other.alignment) != (layer.importance, layer.alignment)
            for other in layers
        )
    ]
