"""Label-agnostic forgetting (LAF; Shen et al., ICLR 2024, arXiv 2404.00506): forget by the shape of the features alone.

Two small variational autoencoders learn what the parent's features of retained and of forgotten pairs look like, h
and h_f. The features e of a pair are its two embeddings side by side, e° are the parent's. Then

    extraction  L_UE = mean_r ‖e_r − h(e_r)‖² − mean_f ‖e_f − h_f(e_f)‖²
    alignment   L_RA = −mean_r log( exp(e_r · e°_r / τ) / (exp(e_r · e°_r / τ) + Σ_f exp(e_r · e°_f / τ)) )

so retained features stay in their distribution, forgotten ones leave theirs, and retained features stay nearer to
where they were than to where the forgotten ones were. No label enters; for CLIP that means no in-batch image↔text
matching distribution, which is what takes the place of the class distribution in the other methods.

The paper's text was not at hand: the terms and their order are sure, their exact distances, signs and weights are
not. The published method minimises the two losses in alternating epochs; here they are summed, as every method's
terms are.
"""

from __future__ import annotations

from typing import Annotated

import torch
from pydantic import Field
from torch import Tensor, nn
from torch.nn import functional as F

from expunge.unlearning.method import Batch, Descent, Side
from expunge.unlearning.problem import Problem, Teacher
from expunge.unlearning.settings import LoopParams, Weight


class LabelAgnosticParams(LoopParams):
    """Weights of extraction on either side and of alignment; `latent` is the width of the autoencoders' code."""

    extraction_weight: Weight = 1.0
    forget_weight: Weight = 1.0
    alignment_weight: Weight = 1.0
    temperature: Annotated[float, Field(gt=0)] = 0.1
    latent: Annotated[int, Field(ge=1)] = 32


FIT_STEPS = 200
FIT_RATE = 2e-3
KL_WEIGHT = 1e-3
"""Features are unit vectors: with the textbook's weight of 1 the code would be empty, every reconstruction the mean."""


class LabelAgnostic(Descent):
    """Extraction and alignment."""

    params: LabelAgnosticParams

    def __init__(self, params: LabelAgnosticParams, problem: Problem, teacher: Teacher) -> None:
        super().__init__(params, problem, teacher)
        features = [
            torch.cat([images, problem.clip.encode_texts(pairs.canonical())], dim=1).to(problem.clip.device)
            for images, pairs in ((teacher.forget_images, problem.forget), (teacher.retain_images, problem.retain))
        ]
        self.of_forget, self.of_retain = (fit(rows, params.latent, problem.seed) for rows in features)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        stay = self.of_retain.distance(_features(batch.retain)).mean()
        leave = self.of_forget.distance(_features(batch.forget)).mean()
        return {
            "retention": self.params.extraction_weight * stay,
            "forgetting": -self.params.forget_weight * leave,
            "alignment": self.params.alignment_weight * self._alignment(batch),
        }

    def _alignment(self, batch: Batch) -> Tensor:
        new, old = _features(batch.retain), _parent_features(batch.retain)
        own = (new * old).sum(dim=1, keepdim=True)
        forgotten = new @ _parent_features(batch.forget).T
        logits = torch.cat([own, forgotten], dim=1) / self.params.temperature
        return F.cross_entropy(logits, torch.zeros(len(logits), dtype=torch.int64, device=logits.device))


class Autoencoder(nn.Module):
    """A variational autoencoder of features [N, W] (Kingma and Welling 2014, arXiv 1312.6114)."""

    def __init__(self, width: int, latent: int) -> None:
        super().__init__()
        self.encoder = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, 2 * latent))
        self.decoder = nn.Sequential(nn.Linear(latent, width), nn.ReLU(), nn.Linear(width, width))

    def bound(self, features: Tensor, noise: Tensor) -> Tensor:
        """The negative evidence lower bound, up to constants; `noise` is [N, latent]."""
        mean, log_variance = self.encoder(features).chunk(2, dim=1)
        found = self.decoder(mean + noise * (log_variance / 2).exp())
        divergence = (mean.square() + log_variance.exp() - 1 - log_variance).sum(dim=1) / 2
        return ((found - features).square().sum(dim=1) + KL_WEIGHT * divergence).mean()

    def distance(self, features: Tensor) -> Tensor:
        """‖e − h(e)‖² of each row, [N], with the mean code."""
        mean, _ = self.encoder(features).chunk(2, dim=1)
        return (self.decoder(mean) - features).square().sum(dim=1)


def fit(features: Tensor, latent: int, seed: int) -> Autoencoder:
    """An autoencoder of `features` [N, W] with frozen weights; same seed, same bits."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Autoencoder(features.shape[1], latent)
        noise = torch.randn(FIT_STEPS, len(features), latent).to(features.device)
    model.to(features.device)
    optimizer = torch.optim.Adam(model.parameters(), lr=FIT_RATE)
    for step in range(FIT_STEPS):
        optimizer.zero_grad()
        model.bound(features, noise[step]).backward()
        optimizer.step()
    return model.requires_grad_(False)


def _features(side: Side) -> Tensor:
    return torch.cat([side.images, side.texts], dim=1)


def _parent_features(side: Side) -> Tensor:
    return torch.cat([side.parent_images, side.parent_texts], dim=1)
