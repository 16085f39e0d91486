"""How fast does forgotten knowledge come back? Steps of fine-tuning on the forget set itself.

A model that merely hides what it knew relearns it in fewer steps than one that never saw it. Each step is one batch of
all forgotten pairs (at most 64) and as many retained ones, contrastive loss, Adam, BatchNorm frozen; after each step
image→text R@1 of the forgotten pairs is read against the full gallery, whose other texts keep their embeddings.
"""

from __future__ import annotations

import numpy as np
import torch

from expunge.clip import Clip, autocast
from expunge.config import ComputeParams, RelearnParams
from expunge.evaluation.gallery import Gallery
from expunge.pairs import Pairs
from expunge.training import contrastive_loss

BATCH = 64


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
    pupil = clip.clone()
    optimizer = torch.optim.Adam(
        [weight for name, weight in pupil.model.named_parameters() if name != "logit_scale"], lr=params.learning_rate
    )
    texts = gallery.texts.clone()
    for step in range(params.max_steps + 1):
        if _recall(pupil, texts, pairs, forget) >= target:
            return step
        if step < params.max_steps:
            draw = np.random.default_rng((seed, step))
            rows = np.concatenate([_sample(forget, draw), _sample(retain, draw)])
            with autocast(pupil.device, compute):
                images = pupil.encode_pixels(pairs.images(rows))
                captions = pupil.encode_tokens(pupil.tokenizer(pairs.canonical(rows)))
            loss = contrastive_loss(images, captions, pupil.model.logit_scale)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
    return params.max_steps + 1


def _sample(rows: np.ndarray, draw: np.random.Generator) -> np.ndarray:
    return np.sort(draw.choice(rows, min(BATCH, len(rows)), replace=False))


def _recall(clip: Clip, texts: torch.Tensor, pairs: Pairs, forget: np.ndarray) -> float:
    rows = torch.from_numpy(forget)
    texts[rows] = clip.encode_texts(pairs.canonical(forget))
    scores = clip.encode_images(pairs.images(forget)) @ texts.T
    return (scores.argmax(dim=1) == rows).double().mean().item()
