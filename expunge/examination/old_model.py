"""What does an attacker learn who kept the OLD model? What changed most between two releases may be what was deleted.

Publishing a new model beside the old one can betray a pair that neither betrays alone (Chen et al. 2021, "When machine
unlearning jeopardizes privacy", arXiv 2005.02205; Zanella-Béguelin et al. 2020, arXiv 1912.07942). The attacker scores
each pair by what the update did to it, higher where more was taken away:

- `embedding`: (1 − x·x′) + (1 − t·t′), how far image and text embedding moved;
- `similarity`: x·t − x′·t′, how much the pair's cosine fell;
- `loss`: ℓ′ − ℓ, how much its contrastive loss rose, in nats.

Retraining betrays the deleted pairs to him too, so the yardstick is the same attack on (old, gold standard); what
counts is the excess over it. Two trainings may differ by a rotation of the whole embedding space, which no cosine
sees: the new space is first turned onto the old one (orthogonal Procrustes, Schönemann 1966, over the images and texts
of the full gallery, so that the attacker needs to know nothing of which pairs were deleted).

An attacker who kept nothing but the old *vectors* asks each new tower with them: does the old embedding of a forgotten
caption still find its picture among the new image embeddings, and that of a forgotten picture its caption? A tower that
was not retrained answers as before. One that was is turned onto the old one first, on pairs that stay.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import numpy as np
import torch
from torch import Tensor

from expunge.embeddings.gallery import Gallery
from expunge.evaluation.measure import Measured
from expunge.evaluation.roc import assess


def compare(
    old: Measured,
    unlearned: Measured,
    retrained: Measured | None,
    forgotten: np.ndarray,
    others: dict[str, np.ndarray],
    seed: int,
) -> dict[str, Any]:
    """The attack on both updates, side by side.

    Args:
        forgotten: rows that the attacker looks for.
        others: name → rows that he must tell them from, such as `never_seen` and `retained`.

    Returns:
        For each name and each signal `unlearned` and `retrained` (fields of `roc.Attack`; None without gold standard)
        and `excess_auc`, the AUC on the one less that on the other (None likewise).

    Raises:
        ExpungeError: a set is empty.
    """
    models = {"unlearned": unlearned} | ({"retrained": retrained} if retrained else {})
    signals = {name: changes(old, model) for name, model in models.items()}
    return {
        name: {kind: _side_by_side(signals, kind, forgotten, rows, seed) for kind in signals["unlearned"]}
        for name, rows in others.items()
    }


def changes(old: Measured, new: Measured) -> dict[str, np.ndarray]:
    """`embedding`, `similarity` and `loss`: what became of every pair from `old` to `new`, [N] each."""
    return {
        "embedding": _moved(old.gallery, new.gallery).numpy(),
        "similarity": (old.gallery.similarities - new.gallery.similarities).numpy(),
        "loss": (new.matches.loss - old.matches.loss).numpy(),
    }


def kept_vectors(old: Gallery, new: Gallery, forgotten: np.ndarray, staying: np.ndarray) -> dict[str, dict[str, float]]:
    """Recall at 1 of the rows `forgotten` in the full gallery: `old_texts` find pictures, `old_images` find captions.

    Each `raw`, and `aligned`: after the new tower was turned onto the old one by its embeddings of the rows `staying`.
    """

    def both(queries: Tensor, before: Tensor, after: Tensor) -> dict[str, float]:
        turned = after.double() @ _rotation(after[staying], before[staying])
        return {"raw": _recall(queries, after, forgotten), "aligned": _recall(queries, turned.float(), forgotten)}

    return {
        "old_texts": both(old.texts, old.images, new.images),
        "old_images": both(old.images, old.texts, new.texts),
    }


def _recall(queries: Tensor, targets: Tensor, rows: np.ndarray) -> float:
    scores = queries[rows] @ targets.T
    right = scores[torch.arange(len(rows)), torch.from_numpy(rows)]
    # Equal scores count against the pair.
    return ((scores >= right[:, None]).sum(dim=1) == 1).double().mean().item()


def _rotation(moving: Tensor, fixed: Tensor) -> Tensor:
    """The rotation R, [D, D], that brings `moving` @ R closest to `fixed`, both [N, D]."""
    left, _, right = torch.linalg.svd(moving.double().T @ fixed.double())
    return left @ right


def _side_by_side(
    signals: dict[str, dict[str, np.ndarray]], kind: str, forgotten: np.ndarray, rows: np.ndarray, seed: int
) -> dict[str, Any]:
    found: dict[str, Any] = {
        model: asdict(assess(signal[kind][forgotten], signal[kind][rows], seed)) for model, signal in signals.items()
    }
    gold = found.setdefault("retrained", None)
    return found | {"excess_auc": found["unlearned"]["auc"] - gold["auc"] if gold else None}


def _moved(old: Gallery, new: Gallery) -> Tensor:
    """2 − x·Rx′ − t·Rt′ for the rotation R that brings the new gallery closest to the old one, [N]."""
    before, after = (torch.cat([gallery.images, gallery.texts]).double() for gallery in (old, new))
    cosines = (before * (after @ _rotation(after, before))).sum(dim=1)
    return 2 - cosines[: len(old.images)] - cosines[len(old.images) :]
