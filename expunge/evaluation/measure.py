"""All questions asked of one model, on all sets: the block `M` of `metrics.json`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.embeddings.gallery import Encoder, Gallery, Matches, match, view
from expunge.evaluation import membership, relearning, retrieval, zero_shot
from expunge.evaluation.sets import Sets
from expunge.evaluation.settings import EvaluateParams
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs
from expunge.models.settings import ComputeParams


@dataclass(frozen=True)
class Measured:
    """What was found out about one model.

    Attributes:
        metrics: the block `M`.
        gallery: the model's embeddings of the catalog.
        named: whether each picture's class was named right, bool [N].
        matches: ranks and losses of all pairs.
    """

    metrics: dict[str, Any]
    gallery: Gallery
    named: Tensor
    matches: Matches


def measure(
    clip: Encoder, pairs: Pairs, sets: Sets, params: EvaluateParams, batch_size: int, images: Tensor | None = None
) -> Measured:
    """Every metric of `clip` but the relearning steps, which need the original model's recall first.

    Args:
        images: the image embeddings of all pairs where they are known, [N, D].
    """
    gallery = view(clip, pairs, batch_size, images)
    matches = match(gallery)
    named = zero_shot.classify(clip, gallery.images, pairs.classes, params.zero_shot.templates)
    metrics: dict[str, Any] = {
        name: group_metrics(gallery, matches, named, rows) for name, rows in sets.groups.items() if len(rows)
    }
    if len(sets.members) and len(sets.never_seen):
        metrics["mia_auc"] = membership.attack_auc(
            matches, torch.from_numpy(sets.members), torch.from_numpy(sets.never_seen)
        )
    return Measured(metrics, gallery, named, matches)


def group_metrics(gallery: Gallery, matches: Matches, named: Tensor, rows: np.ndarray) -> dict[str, float]:
    """The metrics of one set; fractions in [0, 1], `pair_similarity` a mean cosine with its
    standard deviation over pairs, `count` the number of pairs."""
    chosen = torch.from_numpy(rows)
    return {
        "count": len(rows),
        "zero_shot_top1": named[chosen].double().mean().item(),
        **retrieval.recall(matches, chosen),
        "pair_similarity": gallery.similarities[chosen].double().mean().item(),
        "pair_similarity_sd": gallery.similarities[chosen].double().std(correction=0).item(),
    }


def relearn(
    clip: Clip,
    measured: Measured,
    pairs: Pairs,
    sets: Sets,
    target: float,
    params: EvaluateParams,
    compute: ComputeParams,
    seed: int,
) -> int:
    """Steps of fine-tuning until image→text R@1 of the forgotten training pairs is back at `target`."""
    return relearning.relearn_steps(
        clip, measured.gallery, pairs, sets.members, sets.guarded, target, params.relearn, compute, seed
    )
