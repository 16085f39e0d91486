"""How fast does forgotten knowledge come back? Fine-tuning on the forget set itself, counted in steps and in shots.

A model that merely hides what it knew relearns it in fewer steps than one that never saw it (the relearn time of
Golatkar et al. 2020, arXiv 1911.04933), and a few of the forgotten pairs bring back the others, which no model can
that does not hold them (targeted relearning, Hu et al. 2024, arXiv 2406.13356). Each step is one batch of forgotten
pairs (at most 64) and as many retained ones, contrastive loss, Adam, BatchNorm frozen; image→text R@1 of the forgotten
pairs is read against the full gallery, whose other texts keep their embeddings.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from expunge.embeddings.gallery import TIE, TILE, Gallery
from expunge.evaluation.settings import RelearnParams
from expunge.models.clip import Clip, autocast
from expunge.models.loss import TEMPERATURE, contrastive_loss
from expunge.models.pairs import Pairs
from expunge.models.settings import ComputeParams
from expunge.project.progress import brief
from expunge.project.scratch import blocks

BATCH = 64


@dataclass(frozen=True)
class Shots:
    """How many of the forgotten pairs bring back the others.

    Attributes:
        needed: smallest number of shots that does; 0: nothing was forgotten; the number of forgotten pairs + 1: none.
        recall: for each number of shots that was tried, image→text R@1 of the forgotten pairs that were not shown.
    """

    needed: int
    recall: dict[int, float]


def relearn_steps(
    clip: Clip,
    gallery: Gallery,
    pairs: Pairs,
    forget: np.ndarray,
    retain: np.ndarray,
    target: float,
    params: RelearnParams,
    compute: ComputeParams,
    seed: int,
) -> int:
    """Steps until R@1 of the rows `forget` reaches `target`; `params.max_steps` + 1 if that is never. 0: it is there.

    `clip` itself is left untouched.
    """
    pupil = _Pupil(clip, pairs, retain, params, compute, seed)
    with brief("fine-tune until it is back, at most") as report:
        for step in range(params.max_steps + 1):
            if _recall(pupil.clip, gallery, pairs, forget, forget) >= target:
                return step
            if step < params.max_steps:
                pupil.learn(forget, step)
            report(step + 1, params.max_steps + 1)
    return params.max_steps + 1


def relearn_shots(
    clip: Clip,
    gallery: Gallery,
    pairs: Pairs,
    forget: np.ndarray,
    retain: np.ndarray,
    target: float,
    params: RelearnParams,
    compute: ComputeParams,
    seed: int,
) -> Shots:
    """Fine-tune `params.shot_steps` steps on k = 1, 2, 4, … of the rows `forget`, until R@1 of the rest is `target`.

    Every k starts again from `clip`, which is left untouched, and shows the first k rows of one shuffled order. Each
    batch has min(k, 64) forgotten pairs and 64 retained ones, so that a single shot has something to be told from.
    """
    order = np.random.default_rng(seed).permutation(forget)
    recall = {0: _recall(clip, gallery, pairs, forget, forget)}
    shots = 1
    while max(recall.values()) < target and shots < len(forget):
        pupil = _Pupil(clip, pairs, retain, params, compute, seed)
        for step in range(params.shot_steps):
            pupil.learn(order[:shots], step)
        recall[shots] = _recall(pupil.clip, gallery, pairs, forget, np.sort(order[shots:]))
        shots *= 2
    reached = [tried for tried, value in recall.items() if value >= target]
    return Shots(reached[0] if reached else len(forget) + 1, recall)


def benign(
    clip: Clip,
    gallery: Gallery,
    pairs: Pairs,
    forget: np.ndarray,
    retain: np.ndarray,
    params: RelearnParams,
    compute: ComputeParams,
    seed: int,
) -> dict[str, float]:
    """Fine-tune on what stays alone: does what was only suppressed come back? Without a single forgotten pair.

    Returns:
        `before` and `after` `params.benign_steps` steps the image→text R@1 of the rows `forget`, and the mean cosine
        of their pairs as `similarity_before` and `similarity_after`. `clip` itself is left untouched.
    """
    pupil = _Pupil(clip, pairs, retain, params, compute, seed)
    before = _recall(clip, gallery, pairs, forget, forget), _similarity(clip, pairs, forget)
    for step in range(params.benign_steps):
        pupil.learn(forget[:0], step)
    after = _recall(pupil.clip, gallery, pairs, forget, forget), _similarity(pupil.clip, pairs, forget)
    return {"before": before[0], "after": after[0], "similarity_before": before[1], "similarity_after": after[1]}


class _Pupil:
    """A copy of `clip` that learns forgotten rows, with retained ones beside them."""

    def __init__(
        self, clip: Clip, pairs: Pairs, retain: np.ndarray, params: RelearnParams, compute: ComputeParams, seed: int
    ) -> None:
        self.clip, self.pairs, self.retain, self.compute, self.seed = clip.clone(), pairs, retain, compute, seed
        weights = [weight for name, weight in self.clip.model.named_parameters() if name not in TEMPERATURE]
        self.optimizer = torch.optim.Adam(weights, lr=params.learning_rate)

    def learn(self, forget: np.ndarray, step: int) -> None:
        """One step of fine-tuning."""
        draw = np.random.default_rng((self.seed, step))
        rows = np.concatenate([_sample(forget, draw), _sample(self.retain, draw)])
        rows = self.pairs.at(rows)
        with autocast(self.clip.device, self.compute):
            images = self.clip.encode_pixels(self.pairs.images(rows))
            captions = self.clip.encode_tokens(self.clip.tokenizer(self.pairs.canonical(rows)))
        loss = contrastive_loss(images, captions, self.clip.model)
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        self.optimizer.step()


def _sample(rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return np.sort(draw.choice(rows, min(BATCH, len(rows)), replace=False))


def _similarity(clip: Clip, pairs: Pairs, rows: np.ndarray) -> float:
    images, texts = clip.encode_images(pairs.images(rows)), clip.encode_texts(pairs.canonical(rows))
    return (images * texts).sum(dim=1).double().mean().item()


def _recall(clip: Clip, gallery: Gallery, pairs: Pairs, forget: np.ndarray, asked: np.ndarray) -> float:
    """R@1 of the rows `asked`, some of `forget`, with the texts of all rows `forget` as `clip` encodes them now."""
    told = torch.from_numpy(forget)
    texts = clip.encode_texts(pairs.canonical(pairs.at(forget)))
    images = clip.encode_images(pairs.images(pairs.at(asked)))
    right = (images * texts[torch.searchsorted(told, torch.from_numpy(asked))]).sum(dim=1)
    rank = torch.full((len(asked),), -1)  # every picture counts its own caption once
    for start, stored in blocks(gallery.texts, TILE):
        tile = stored.to(torch.float32, copy=True)
        here = (told >= start) & (told < start + TILE)
        tile[told[here] - start] = texts[here]
        rank += (images @ tile.T >= right[:, None] - TIE).sum(dim=1)
    return (rank == 0).double().mean().item()
