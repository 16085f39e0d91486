"""All questions asked of one model, on all sets: the block `M` of `metrics.json`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.embeddings.gallery import Encoder, Gallery, Matches, match
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
        named: 1 where a picture's class was named right and 0 where not, not a number where nobody asked, [N].
        matches: ranks and losses of the pairs that were asked about.
    """

    metrics: dict[str, Any]
    gallery: Gallery
    named: Tensor
    matches: Matches


def measure(
    clip: Encoder, gallery: Gallery, classes: Sequence[str], sets: Sets, params: EvaluateParams, whole: bool = False
) -> Measured:
    """Every metric of `clip` but the relearning steps, which need the original model's recall first.

    Args:
        gallery: the model's view of the catalog.
        classes: the class of every pair, [N].
        whole: rank every pair of the catalog, and not only those that the metrics are about.
    """
    asked = np.arange(len(classes)) if whole else sets.asked
    matches = match(gallery, asked)
    named = torch.full((len(classes),), torch.nan)
    images, templates = gallery.images[torch.from_numpy(asked)].float(), params.zero_shot.templates
    named[torch.from_numpy(asked)] = zero_shot.classify(clip, images, classes, asked, templates).float()
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
