"""How much two pictures differ once one is turned, cropped and recoloured to look as much like the other as it can.

The measure is local: a moved clock hand or another skin tone changes a small place much, a copy changes no place much.
Positions within two pixels count as the same, so that compression, rescaling and blur cost little.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from PIL import Image, ImageFilter

from expunge.near_duplicates.pictures import SIDE, colour_views, frames, geometric_views

COARSE = 32
TINY = 16
ALIGNED = 2
"""Geometric views of each frame that are compared pixel by pixel."""
REACH = 5
"""Pixels on each side of the neighbourhood in which a value may be found again."""
SOFTEN = 1.0
WORST = 12
"""The difference is what so many places of 3 x 3 pixels reach."""


@dataclass(frozen=True)
class Range:
    """A softened picture with the least and greatest value in each pixel's neighbourhood, float32 [S, S, 3] each."""

    pixels: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Candidate:
    """A picture that may be a copy."""

    def __init__(self, image: Image.Image) -> None:
        self.frames = frames(image)

    @cached_property
    def shapes(self) -> np.ndarray:
        """Normalised grey thumbnails of the frames, float32 [2, COARSE²]."""
        return _shapes(self.frames)

    @cached_property
    def ranges(self) -> list[Range]:
        return [_range(frame) for frame in self.frames]


class Original:
    """A picture of which copies are looked for."""

    def __init__(self, image: Image.Image) -> None:
        self.views = geometric_views(image)

    @cached_property
    def shapes(self) -> np.ndarray:
        """Normalised grey thumbnails of the views, float32 [V, COARSE²]."""
        return _shapes(self.views)

    def difference(self, candidate: Candidate) -> float:
        """The greatest local difference from `candidate` under the best view, 0 to 255."""
        likeness = np.abs(self.shapes @ candidate.shapes.T)
        best = 255.0
        for number, frame in enumerate(candidate.frames):
            for view in np.argsort(-likeness[:, number], kind="stable")[:ALIGNED]:
                recoloured = _recoloured(self.views[view], frame)
                best = min(best, _local_difference(_range(recoloured), candidate.ranges[number]))
        return best


def _shapes(images: list[Image.Image] | tuple[Image.Image, ...]) -> np.ndarray:
    grey = np.stack([np.asarray(image.convert("L").reduce(SIDE // COARSE), np.float32).ravel() for image in images])
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)


def _recoloured(view: Image.Image, goal: Image.Image) -> Image.Image:
    """`view` under the colour change that brings it nearest to `goal`."""
    small, wanted = view.reduce(SIDE // TINY), np.asarray(goal.reduce(SIDE // TINY), np.float32)
    errors = [np.abs(np.asarray(changed, np.float32) - wanted).mean() for changed in colour_views(small)]
    best = int(np.argmin(errors))
    return next(changed for number, changed in enumerate(colour_views(view)) if number == best)


def _range(image: Image.Image) -> Range:
    soft = image.filter(ImageFilter.GaussianBlur(SOFTEN))
    low, high = soft.filter(ImageFilter.MinFilter(REACH)), soft.filter(ImageFilter.MaxFilter(REACH))
    return Range(*(np.asarray(part, np.float32) for part in (soft, low, high)))


def _local_difference(left: Range, right: Range) -> float:
    outside = np.maximum(_outside(left, right), _outside(right, left)).max(axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(outside, (3, 3)).mean(axis=(2, 3))
    return float(np.sort(windows, axis=None)[-WORST])


def _outside(inner: Range, outer: Range) -> np.ndarray:
    """How far each pixel of `inner` lies outside of what `outer` holds near it."""
    return np.maximum(np.maximum(outer.low - inner.pixels, inner.pixels - outer.high), 0)
