"""Forget sets that are hard to forget: a method that passes on random pairs may fail on these.

Each function takes rows of the catalog and returns `count` of them, sorted int64, the same on every call. All read one
trained model's view of the catalog; none trains anything, so they are stand-ins where the paper trains, and each
docstring says what was given up.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from PIL import Image
from torch import Tensor

from expunge.embeddings.gallery import BLOCK, Gallery
from expunge.evaluation.membership import embedding_gradients
from expunge.project.errors import ExpungeError
from expunge.unlearning.calibration import never_seen_level
from expunge.unlearning.method import total
from expunge.unlearning.problem import Seen

COLOURS = 12
COLOURLESS = -1
FOLDS = 10


def worst_case(
    gallery: Gallery, loss: Tensor, candidates: np.ndarray, count: int, rise: float = 1.0, rounds: int = 200
) -> np.ndarray:
    """The pairs whose loss stays lowest when they are unlearned together and the other candidates are kept.

    After Fan et al. 2024 (ECCV, arXiv 2403.07362), who search min over w of Σ wᵢ ℓᵢ(θ_u(w)), θ_u(w) = the model after
    unlearning the pairs with wᵢ = 1, by signSGD below and projected gradient steps above. Here the lower level is one
    step of gradient difference, θ_u(w) = θ − η (ḡ_kept − ḡ_forgotten), and its effect on the losses is taken to first
    order, with the gradients of `embedding_gradients` (a linear map on top of each tower). For m of N candidates,
    K = their gradients' inner products and the relaxation 0 ≤ wᵢ ≤ 1, Σ wᵢ = m, this is a convex quadratic programme,

        min over w of wᵀℓ − η/(N−m) wᵀK1 + η (1/(N−m) + 1/m) wᵀKw,

    solved by Frank–Wolfe with exact line search: reweighting towards the pairs that are still well known after the
    step. It costs O(N D²) a round, K is never formed, and the m largest weights are the answer. What is given up:
    unlearning that changes deeper layers, or bends the losses, is not foreseen.

    Args:
        loss: contrastive loss of every pair, as in `Matches`, [N].
        rise: sets η: by how many nats the step raises the loss of m pairs that have nothing in common, on average.

    Raises:
        ExpungeError: there are not more candidates than `count`.
    """
    _require(count < len(candidates), count)
    chosen = torch.from_numpy(candidates)
    towers = [
        (gradients[chosen].double(), embeddings[chosen].double())
        for gradients, embeddings in zip(embedding_gradients(gallery), (gallery.images, gallery.texts), strict=True)
    ]
    kept = len(candidates) - count
    own = total(gradients.square().sum(dim=1) for gradients, _ in towers).mean().item()
    step_size = rise * count / max(own, torch.finfo(torch.float64).tiny)
    linear = loss[chosen].double() - step_size / kept * _inner_products(towers, torch.ones(len(chosen)).double())
    curvature = step_size * (1 / kept + 1 / count)
    weights = torch.full((len(chosen),), count / len(chosen), dtype=torch.float64)
    drawn = _inner_products(towers, weights)
    slope = linear + 2 * curvature * drawn
    for _ in range(rounds):
        vertex = torch.zeros_like(weights)
        vertex[torch.argsort(slope, stable=True)[:count]] = 1.0
        direction = vertex - weights
        change = _inner_products(towers, direction)
        descent, bend = -(slope @ direction).item(), 2 * curvature * (direction @ change).item()
        if descent <= 1e-9 * count:
            break
        length = min(1.0, descent / bend) if bend > 0 else 1.0
        weights, drawn = weights + length * direction, drawn + length * change
        slope = linear + 2 * curvature * drawn
    return np.sort(candidates[torch.argsort(weights, descending=True, stable=True)[:count].numpy()])


def _inner_products(towers: list[tuple[Tensor, Tensor]], weights: Tensor) -> Tensor:
    """K w [N], where Kᵢⱼ = Σ over towers of (δᵢ·δⱼ)(xᵢ·xⱼ) is the inner product of the gradients δᵢ xᵢᵀ of the maps."""
    total = torch.zeros_like(weights)
    for gradients, embeddings in towers:
        mean = (gradients * weights[:, None]).T @ embeddings
        total += ((gradients @ mean) * embeddings).sum(dim=1)
    return total


def most_memorised(memorisation: np.ndarray, candidates: np.ndarray, count: int) -> np.ndarray:
    """The candidates of the highest memorisation, a score [N] as of `memorisation_by_similarity`.

    RUM (Zhao et al. 2024, arXiv 2406.01257) finds these the hardest to unlearn.

    Raises:
        ExpungeError: there are fewer candidates than `count`.
    """
    _require(count <= len(candidates), count)
    return np.sort(candidates[np.argsort(-memorisation[candidates], kind="stable")[:count]])


def memorisation_by_similarity(
    gallery: Gallery, captions: Sequence[str], candidates: np.ndarray, held_out: np.ndarray
) -> np.ndarray:
    """A stand-in for memorisation from the one model there is, [N], NaN outside of `candidates`.

    A pair's cosine less the cosine that `never_seen_level` expects, had it not been trained on while the others were:
    what training on the pair itself added. The level is estimated a tenth of the candidates at a time from the other
    nine.

    Args:
        captions: canonical captions, [N].
        candidates: rows that were trained on.
        held_out: rows that were not.

    Raises:
        ExpungeError: there are too few held-out rows to calibrate with.
    """
    found = np.full(len(captions), np.nan)
    fold_of = np.arange(len(candidates)) % FOLDS
    similarities = gallery.similarities.numpy()

    def seen(rows: np.ndarray) -> Seen:
        return Seen([captions[row] for row in rows], gallery.images[rows], gallery.texts[rows])

    for fold in range(min(FOLDS, len(candidates))):
        rows, others = candidates[fold_of == fold], candidates[fold_of != fold]
        found[rows] = similarities[rows] - never_seen_level(seen(rows), seen(held_out), seen(others))
    return found


def entangled(gallery: Gallery, candidates: np.ndarray, count: int) -> np.ndarray:
    """The candidates whose nearest retained neighbour is closest, where the rest of the candidates is retained.

    Distance is that of image and text embedding side by side. Candidates are visited from the closest to the
    farthest; one is taken unless its nearest neighbour was taken before or it is the nearest neighbour of one that
    was, so each pair that is forgotten leaves its nearest neighbour behind. RUM (arXiv 2406.01257) grades sets by
    `entanglement_score` but finds them by their distance from the centroid; this picks pair by pair instead.

    Raises:
        ExpungeError: fewer than `count` can be taken so.
    """
    joint = _joint(gallery)[candidates]
    nearest, cosine = _nearest(joint)
    taken: set[int] = set()
    spared: set[int] = set()
    for row in np.argsort(-cosine, kind="stable").tolist():
        if len(taken) < count and row not in spared and nearest[row] not in taken:
            taken.add(row)
            spared.add(int(nearest[row]))
    _require(len(taken) == count, count)
    return np.sort(candidates[sorted(taken)])


def entanglement_score(gallery: Gallery, forget: np.ndarray, retain: np.ndarray) -> float:
    """Variance within the two sets over variance between them, 0 or more; the higher, the more entangled.

    ES = (Σ_r ‖z − μ_r‖² / R + Σ_f ‖z − μ_f‖² / F) / (½ (‖μ_r − μ‖² + ‖μ_f − μ‖²)), μ the mean of both sets together
    (RUM, arXiv 2406.01257, after Goldblum et al. 2020), of image and text embedding side by side. It is infinite
    where the two means fall together.
    """
    joint = _joint(gallery)
    centre = joint[np.concatenate([retain, forget])].mean(dim=0)
    within, between = 0.0, 0.0
    for rows in (retain, forget):
        mean = joint[rows].mean(dim=0)
        within += (joint[rows] - mean).square().sum(dim=1).mean().item()
        between += (mean - centre).square().sum().item() / 2
    return within / between if between else float("inf")


def dominant_colours(pixels: np.ndarray) -> np.ndarray:
    """The hue that most coloured pixels of a picture share, 0 … 11 from red in steps of 30°, int64 [N].

    A pixel is coloured from a quarter of full saturation and value on; `COLOURLESS` where fewer than one in twenty is.

    Args:
        pixels: uint8 [N, 3, H, W].
    """
    found = np.full(len(pixels), COLOURLESS)
    for row, picture in enumerate(pixels):
        hue, saturation, value = np.moveaxis(
            np.asarray(Image.fromarray(np.moveaxis(picture, 0, -1)).convert("HSV")).astype(np.int64), -1, 0
        )
        coloured = (saturation >= 64) & (value >= 64)
        if coloured.mean() >= 0.05:
            # Half a step ahead, so that reds on either side of zero fall together.
            steps = ((2 * hue[coloured] * COLOURS + 256) // 512) % COLOURS
            found[row] = np.bincount(steps, minlength=COLOURS).argmax()
    return found


def same_colour(colours: np.ndarray, classes: Sequence[str], candidates: np.ndarray, count: int) -> np.ndarray:
    """A biased set: candidates that share nothing but their dominant colour, over as many classes as there are.

    Of the colours with enough pictures, the one of the most classes (the lowest of equals); the classes take turns, by
    name, each giving its rows in order. A method that forgets by the shortcut takes the colour with it from pictures
    that stay (the setting of CUPID, arXiv 2602.21773, with a colour for the spurious attribute).

    Raises:
        ExpungeError: no colour has `count` pictures.
    """
    queues: dict[int, dict[str, list[int]]] = {}
    for row in candidates.tolist():
        if colours[row] != COLOURLESS:
            queues.setdefault(int(colours[row]), {}).setdefault(classes[row], []).append(row)
    large = [colour for colour, found in queues.items() if sum(map(len, found.values())) >= count]
    _require(bool(large), count)
    spread = queues[min(large, key=lambda colour: (-len(queues[colour]), colour))]
    turns = sorted((turn, name, row) for name, rows in spread.items() for turn, row in enumerate(rows))
    return np.array(sorted(row for _, _, row in turns[:count]), dtype=np.int64)


def _joint(gallery: Gallery) -> Tensor:
    """Image and text embedding side by side, scaled to unit length, [N, 2D]."""
    return torch.cat([gallery.images, gallery.texts], dim=1).double() / 2**0.5


def _nearest(units: Tensor) -> tuple[np.ndarray, np.ndarray]:
    """For each unit vector the position of the most similar other one, and their cosine."""
    best, where = [], []
    for start in range(0, len(units), BLOCK):
        cosines = units[start : start + BLOCK] @ units.T
        cosines.diagonal(start).fill_(-torch.inf)
        top = cosines.max(dim=1)
        best.append(top.values)
        where.append(top.indices)
    return torch.cat(where).numpy(), torch.cat(best).numpy()


def _require(enough: bool, count: int) -> None:
    if not enough:
        raise ExpungeError(f"There are too few suitable pairs for a forget set of {count}; ask for fewer.")
