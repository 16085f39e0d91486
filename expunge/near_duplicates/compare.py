"""How much two pictures differ once one is turned, cropped and recoloured to look as much like the other as it can.

The measure is local: a moved clock hand or another skin tone changes a small place much, a copy changes no place much.
Positions within two pixels count as the same, so that compression, rescaling and blur cost little.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageFilter

from expunge.corpus.hashes import SIDE, frames
from expunge.near_duplicates.pictures import View, geometric_views, recolourings

COARSE = 32
TINY = 16
"""Sides of the thumbnails that are aligned, and of those that are recoloured to choose a colour change."""
ALIGNED = 2
"""Views of each frame that are aligned and compared pixel by pixel."""
STEPS = (2.0, 1.0, 0.5)
"""Pixels by which the edges of a view are moved to align it."""
REACH = 5
"""Pixels on each side of the neighbourhood in which a value may be found again."""
SOFTEN = 1.0
WORST = 12
"""The difference is the least value that this many places of 3 x 3 pixels reach."""
STRIKING = 40.0


class Difference(NamedTuple):
    """How a candidate differs from an original under the best view.

    Attributes:
        worst: the greatest local difference, 0 to 255.
        share: part of the places that differ strikingly.
        aligned, frame: the two pictures that were compared.
    """

    worst: float
    share: float
    aligned: Image.Image
    frame: Image.Image


@dataclass(frozen=True)
class Range:
    """A softened picture with the least and greatest value in each pixel's neighbourhood, float32 [S, S, 3] each."""

    pixels: np.ndarray
    low: np.ndarray
    high: np.ndarray


class Candidate:
    """A picture that may be a copy."""

    def __init__(self, pictures: tuple[Image.Image, Image.Image]) -> None:
        self.frames = pictures

    @classmethod
    def of(cls, image: Image.Image) -> Candidate:
        return cls(frames(image))

    @cached_property
    def shapes(self) -> np.ndarray:
        """Normalised grey thumbnails of the frames, float32 [2, COARSE²]."""
        return _shapes([frame.reduce(SIDE // COARSE) for frame in self.frames])

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
        return _shapes([view.image(COARSE) for view in self.views])

    def difference(self, candidate: Candidate) -> Difference:
        """How `candidate` differs from the best view."""
        likeness = np.abs(self.shapes @ candidate.shapes.T)
        found = []
        for number, frame in enumerate(candidate.frames):
            for view in np.argsort(-likeness[:, number], kind="stable")[:ALIGNED]:
                aligned = _recoloured(_aligned(self.views[view], candidate.shapes[number]).image(), frame)
                places = _local_differences(_range(aligned), candidate.ranges[number])
                found.append(Difference(float(places[-WORST]), float((places > STRIKING).mean()), aligned, frame))
        return min(found, key=lambda one: (one.worst, one.share))


def _shapes(thumbnails: list[Image.Image]) -> np.ndarray:
    grey = np.stack([np.asarray(thumbnail.convert("L"), np.float32).ravel() for thumbnail in thumbnails])
    grey -= grey.mean(axis=1, keepdims=True)
    return grey / np.maximum(np.linalg.norm(grey, axis=1, keepdims=True), 1e-6)


def _aligned(view: View, shape: np.ndarray) -> View:
    """`view` with its edges moved until its shape is as like `shape` as small steps can make it."""

    def likeness(view: View) -> float:
        return abs(float(_shapes([view.image(COARSE)])[0] @ shape))

    best = likeness(view)
    for step in STEPS:
        for edge in range(4):
            for move in (-step, step):
                edges = list(view.box)
                edges[edge] = min(max(edges[edge] + move, 0.0), float(SIDE))
                left, upper, right, lower = edges
                if min(right - left, lower - upper) < SIDE / 8:
                    continue
                moved = replace(view, box=(left, upper, right, lower))
                if (score := likeness(moved)) > best:
                    view, best = moved, score
    return view


def _recoloured(view: Image.Image, goal: Image.Image) -> Image.Image:
    """`view` under the colour change that brings it nearest to `goal`."""
    small, wanted = view.reduce(SIDE // TINY), np.asarray(goal.reduce(SIDE // TINY), np.float32)
    changes = recolourings()
    errors = [np.abs(np.asarray(change(small), np.float32) - wanted).mean() for change in changes]
    return changes[int(np.argmin(errors))](view)


def _range(image: Image.Image) -> Range:
    soft = image.filter(ImageFilter.GaussianBlur(SOFTEN))
    low, high = soft.filter(ImageFilter.MinFilter(REACH)), soft.filter(ImageFilter.MaxFilter(REACH))
    return Range(*(np.asarray(part, np.float32) for part in (soft, low, high)))


def _local_differences(left: Range, right: Range) -> np.ndarray:
    """The mean difference of every place of 3 x 3 pixels, the least first, float32 [(S - 2)²]."""
    outside = np.maximum(_outside(left, right), _outside(right, left)).max(axis=2)
    windows = np.lib.stride_tricks.sliding_window_view(outside, (3, 3)).mean(axis=(2, 3))
    return np.sort(windows, axis=None)


def _outside(inner: Range, outer: Range) -> np.ndarray:
    """How far each pixel of `inner` lies outside of what `outer` holds near it."""
    return np.maximum(np.maximum(outer.low - inner.pixels, inner.pixels - outer.high), 0)
