"""Can an attacker tell that the forgotten pairs were in the training data?

The attacker sees one model and the full gallery, and calls pairs members that the model treats like members. He has
three signals, each higher for members:

- `loss`: minus the contrastive loss of the pair (the population attack of Yeom et al. 2018, arXiv 1709.01604);
- `similarity`: the cosine of image and caption, what an attacker sees who has the two embeddings and no gallery;
- `gradient`: minus the norm of the gradient of the pair's loss (after Nasr et al. 2019, arXiv 1812.00910), which
  training has driven towards zero on members. See `embedding_gradients` for which gradient.

0.5 means that he guesses; the yardstick is what he gets from the gold standard, which is seldom 0.5 exactly, as
forgotten and held-out pairs are not alike.
"""

from __future__ import annotations

import numpy as np
import torch
from sklearn.metrics import roc_auc_score
from torch import Tensor, cat

from expunge.embeddings.gallery import BLOCK, Gallery, Matches
from expunge.evaluation.roc import Attack, assess


def attack_auc(matches: Matches, members: Tensor, never_seen: Tensor) -> float:
    """Area under the ROC curve of telling rows `members` from rows `never_seen` by their loss."""
    score = -cat([matches.loss[members], matches.loss[never_seen]])
    label = [1] * len(members) + [0] * len(never_seen)
    return float(roc_auc_score(label, score.numpy()))


def attacks(
    gallery: Gallery, matches: Matches, members: np.ndarray, never_seen: np.ndarray, seed: int
) -> dict[str, Attack]:
    """The attack by each signal on rows `members` against rows `never_seen`.

    Raises:
        ExpungeError: one of the two sets is empty.
    """
    return {
        name: assess(signal[members], signal[never_seen], seed) for name, signal in signals(gallery, matches).items()
    }


def signals(gallery: Gallery, matches: Matches) -> dict[str, np.ndarray]:
    """`loss`, `similarity` and `gradient` of every pair, [N] each, higher for what looks like a member."""
    gradients = torch.cat(embedding_gradients(gallery), dim=1)
    return {
        "loss": -matches.loss.numpy(),
        "similarity": gallery.similarities.numpy(),
        "gradient": -gradients.norm(dim=1).numpy(),
    }


def embedding_gradients(gallery: Gallery) -> tuple[Tensor, Tensor]:
    """Gradient of each pair's loss with respect to its own image and its own text embedding, [N, D] each.

    Exact, in closed form and without a pass through the model. With unit embeddings x, t, logit scale s,
    p = softmax(s xᵢ·t) over captions and q = softmax(s tᵢ·x) over images, the loss of `match` has

        ∂ℓᵢ/∂xᵢ = s (½ Σⱼ pⱼ tⱼ + ½ qᵢ tᵢ − tᵢ),    ∂ℓᵢ/∂tᵢ = s (½ Σⱼ qⱼ xⱼ + ½ pᵢ xᵢ − xᵢ),

    with the sigmoids of the scaled and biased cosines for p and q where that is the model's loss; projected on the
    tangent of the unit sphere, since a change of length is normalised away. The other embeddings and the scale are
    held. The norm of both together is also that of the gradient with respect to a linear map on top of each tower, now
    the identity, because the embeddings that it acts on are unit vectors.
    """
    images, texts = gallery.images, gallery.texts
    return _one_way(images, texts, gallery), _one_way(texts, images, gallery)


def _one_way(own: Tensor, other: Tensor, gallery: Gallery) -> Tensor:
    parts, scale, bias = [], gallery.scale, gallery.bias

    def shares(cosines: Tensor) -> Tensor:
        return torch.softmax(scale * cosines, dim=1) if bias is None else torch.sigmoid(scale * cosines + bias)

    for start in range(0, len(own), BLOCK):
        mine, partners = own[start : start + BLOCK], other[start : start + BLOCK]
        share = shares(mine @ other.T)
        # qᵢ: how much of the partner's attention falls on this embedding.
        returned = shares(partners @ own.T).diagonal(start)
        gradient = scale * (share @ other / 2 + (returned[:, None] / 2 - 1) * partners)
        parts.append(gradient - (gradient * mine).sum(dim=1, keepdim=True) * mine)
    return torch.cat(parts)
