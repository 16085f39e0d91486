"""Was the concept forgotten, or only its wording and its picture? Surrogates that forgetting never used.

A model can lose every pair of the forget set and still match the same concept under another caption or in another
drawing; the gap between the figures on surrogates and on the forget set itself is the illusion of forgetting (after the
probing sets of arXiv 2512.19025, which are close in meaning and far in form). Each surrogate caption is paired with
the original picture, each redrawn picture with the original caption, and ranked against the full gallery.

Aliases in the languages of the recipe are drawn in training and in forgetting, as captions of the same samples, so
they show what a paraphrase does; other languages and templates are drawn in neither.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from expunge.embeddings.gallery import Gallery
from expunge.models import _torchvision
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs
from expunge.models.settings import TrainParams

_torchvision.ensure()

from torchvision.transforms.v2 import functional as draw  # noqa: E402

TEMPLATES = ("a small drawing that shows {caption}", "the symbol for {caption}", "{caption} on a white background")
"""None of them is a template of the default recipe; those that a recipe has are left out."""
BACKGROUND_TOLERANCE = 8
"""Largest difference from the colour of the top left corner, in levels of 255, that still is background."""


@dataclass(frozen=True)
class Surrogate:
    """Another caption for the picture of a row of the catalog."""

    row: int
    text: str


def score(clip: Clip, gallery: Gallery, pairs: Pairs, rows: np.ndarray, recipe: TrainParams) -> dict[str, dict]:
    """For each kind of surrogate of `rows` that there is: `count`, `r1` and `pair_similarity`.

    `r1` is the share of surrogates that find the right partner first, captions among all pictures and pictures among
    all canonical captions of `gallery`, which must be `clip`'s; ties count against it. `pair_similarity` is the mean
    cosine of surrogate and partner. A sample with several surrogates of a kind counts once for each.
    """
    found = {}
    for kind, surrogates in captions(pairs, rows, recipe).items():
        if surrogates:
            texts = clip.encode_texts([surrogate.text for surrogate in surrogates])
            found[kind] = _against(texts, gallery.images, [surrogate.row for surrogate in surrogates])
    pixels = pairs.images(rows)
    for kind, redraw in DRAWINGS.items():
        found[kind] = _against(clip.encode_images(redraw(pixels)), gallery.texts, rows.tolist())
    return found


def captions(pairs: Pairs, rows: np.ndarray, recipe: TrainParams) -> dict[str, list[Surrogate]]:
    """Other captions of `rows`: `aliases` in the recipe's languages, `translations` in others, other `templates`."""
    found: dict[str, list[Surrogate]] = {"aliases": [], "translations": [], "templates": []}
    for row in rows.tolist():
        (_, canonical), *others = pairs.captions[row]
        for language, text in others:
            if text != canonical:
                learned = recipe.languages is None or language in recipe.languages
                kind = "aliases" if learned else "translations"
                found[kind].append(Surrogate(row, text))
        for template in TEMPLATES:
            if template not in recipe.templates:
                found["templates"].append(Surrogate(row, template.format(caption=canonical)))
    return found


def rotated(pixels: Tensor) -> Tensor:
    """Turned by 15° about the centre; the corners take the colour of the top left one."""
    turned = [
        draw.rotate(picture, 15.0, draw.InterpolationMode.BILINEAR, fill=picture[:, 0, 0].tolist())
        for picture in pixels
    ]
    return torch.stack(turned)


def inverted_background(pixels: Tensor) -> Tensor:
    """The colour of the top left corner replaced by its complement wherever it occurs."""
    corner = pixels[:, :, :1, :1]
    distance = (pixels.int() - corner.int()).abs().amax(dim=1, keepdim=True)
    return torch.where(distance <= BACKGROUND_TOLERANCE, 255 - corner, pixels)


def blurred(pixels: Tensor) -> Tensor:
    """Gaussian blur with a standard deviation of a fiftieth of the width, one pixel at least."""
    sigma = max(1.0, pixels.shape[-1] / 50)
    return draw.gaussian_blur(pixels, kernel_size=2 * round(2 * sigma) + 1, sigma=sigma)


DRAWINGS: dict[str, Callable[[Tensor], Tensor]] = {
    "mirrored": draw.horizontal_flip,
    "rotated": rotated,
    "grayscale": lambda pixels: draw.rgb_to_grayscale(pixels, num_output_channels=3),
    "inverted_background": inverted_background,
    "blurred": blurred,
}
"""Kind → function of uint8 pixels [B, 3, H, W] that returns as many of the same shape."""


def _against(queries: Tensor, targets: Tensor, rows: list[int]) -> dict[str, float]:
    scores = queries @ targets.T
    right = scores[torch.arange(len(rows)), torch.tensor(rows)]
    first = (scores >= right[:, None]).sum(dim=1) == 1
    return {
        "count": len(rows),
        "r1": first.double().mean().item(),
        "pair_similarity": right.double().mean().item(),
    }
