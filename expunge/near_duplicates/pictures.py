"""One picture in many guises: the views under which a copy of it may come back.

Everything is compared at `SIDE` x `SIDE` pixels, as a whole and with its plain border trimmed, so neither scale nor
padding counts.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import numpy as np
from PIL import Image, ImageEnhance, ImageOps

from expunge.corpus.hashes import SIDE, Box, border_colour, content_box, standard

ROTATIONS = (-8, -5, -2.5, 2.5, 5, 8)
"""Degrees; the comparison tolerates half a step."""

SPANS = ((0, 1), (0, 0.9), (0.1, 1), (0.06, 0.94))
"""Parts of the width, and of the height, that a crop leaves."""

FLAT = 3.0
"""A picture whose grey levels spread less has no structure to recognise."""

Recolouring = Callable[[Image.Image], Image.Image]


@dataclass(frozen=True)
class View:
    """A part of a standard picture; `box` is left, top, right and bottom in its pixels."""

    picture: Image.Image
    box: Box

    def image(self, side: int = SIDE) -> Image.Image:
        """The part alone, `side` pixels wide and high."""
        return self.picture.resize((side, side), Image.Resampling.BICUBIC, box=self.box)


def geometric_views(image: Image.Image) -> list[View]:
    """Whole and trimmed, cropped, slightly rotated; then the same again mirrored."""
    whole = standard(image)
    fill = border_colour(whole)
    turned = [whole.rotate(angle, Image.Resampling.BICUBIC, fillcolor=fill) for angle in ROTATIONS]
    views = []
    for mirrored in (False, True):
        upright, *rotated = (ImageOps.mirror(picture) if mirrored else picture for picture in (whole, *turned))
        views += [View(upright, (0, 0, SIDE, SIDE)), *_crops(upright)]
        for picture in rotated:
            views += [View(picture, (0, 0, SIDE, SIDE)), View(picture, content_box(picture))]
    return views


def recolourings() -> list[Recolouring]:
    """None, then the usual changes of brightness, contrast, saturation and hue."""
    kinds = (
        (ImageEnhance.Brightness, (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.35, 1.5)),
        (ImageEnhance.Contrast, (0.5, 0.6, 0.7, 0.8, 1.25, 1.5, 1.8)),
        (ImageEnhance.Color, (0, 0.3, 0.6, 1.4, 1.8, 2.5)),
    )
    enhanced = [partial(_enhanced, kind, factor) for kind, factors in kinds for factor in factors]
    return [lambda image: image, *enhanced, *(partial(_hue_shifted, shift) for shift in range(8, 256, 8))]


def has_structure(image: Image.Image) -> bool:
    """Whether there is anything to recognise the picture by but its colour."""
    return float(np.asarray(image.convert("L"), np.float32).std()) >= FLAT


def _enhanced(kind: type, factor: float, image: Image.Image) -> Image.Image:
    return kind(image).enhance(factor)


def _hue_shifted(shift: int, image: Image.Image) -> Image.Image:
    """`image` with its hue turned by `shift` 256ths of the circle."""
    hue, saturation, value = image.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda h: (h + shift) % 256), saturation, value)).convert("RGB")


def _crops(picture: Image.Image) -> Iterator[View]:
    """The trimmed picture, and what crops leave of it."""
    left, top, right, bottom = content_box(picture)
    width, height = right - left, bottom - top
    for start, end in SPANS:
        for first, last in SPANS:
            box = (left + start * width, top + first * height, left + end * width, top + last * height)
            yield View(picture, box)
