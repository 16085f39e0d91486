"""One picture in many guises: the views under which a copy of it may come back.

Everything is compared at `SIDE` x `SIDE` pixels, as a whole and with its plain border trimmed, so neither scale nor
padding counts.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from PIL import Image, ImageChops, ImageEnhance, ImageFilter, ImageOps

SIDE = 64
"""Pixels on each side of a compared picture: finer detail does not survive rescaling."""

ROTATIONS = (-8, -5, -2.5, 2.5, 5, 8)
"""Degrees; the comparison tolerates half a step."""

SPANS = ((0, 1), (0, 0.92), (0, 0.84), (0.08, 1), (0.16, 1), (0.06, 0.94))
"""Parts of the width, and of the height, that a crop leaves."""

TRIM_ROUNDS = 8
BORDER_CONTRAST = 40


def standard(image: Image.Image) -> Image.Image:
    """RGB at the size of comparison; the aspect ratio does not count."""
    return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def frames(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The whole picture, and the same without its plain border, both standard."""
    whole = standard(image)
    return whole, standard(image.convert("RGB").crop(_content_box(image, whole)))


def geometric_views(image: Image.Image) -> list[Image.Image]:
    """Standard pictures: whole and trimmed, slightly rotated, cropped; then the same again mirrored."""
    whole, trimmed = frames(image)
    views = [whole, *_crops(trimmed)]
    for angle in ROTATIONS:
        views += frames(whole.rotate(angle, Image.Resampling.BICUBIC, fillcolor=border_colour(whole)))
    return views + [ImageOps.mirror(view) for view in views]


def few_views(image: Image.Image) -> list[Image.Image]:
    """Standard pictures: the views that are worth a line each in a list that is kept for ever."""
    whole, trimmed = frames(image)
    views = [whole, *(_crop(trimmed, span, (0, 1)) for span in SPANS), *(_crop(trimmed, (0, 1), s) for s in SPANS[1:])]
    for angle in (-5, -2.5, 2.5, 5):
        views.append(frames(whole.rotate(angle, Image.Resampling.BICUBIC, fillcolor=border_colour(whole)))[1])
    return views + [ImageOps.mirror(view) for view in views]


def colour_views(image: Image.Image) -> Iterator[Image.Image]:
    """The picture as it is, then under the usual changes of brightness, contrast, saturation and hue."""
    yield image
    for factor in (0.5, 0.6, 0.7, 0.8, 0.9, 1.1, 1.2, 1.35, 1.5):
        yield ImageEnhance.Brightness(image).enhance(factor)
    for factor in (0.5, 0.6, 0.7, 0.8, 1.25, 1.5, 1.8):
        yield ImageEnhance.Contrast(image).enhance(factor)
    for factor in (0, 0.3, 0.6, 1.4, 1.8, 2.5):
        yield ImageEnhance.Color(image).enhance(factor)
    for shift in range(8, 256, 8):
        yield _hue_shifted(image, shift)


def border_colour(image: Image.Image) -> tuple[int, ...]:
    """The median colour of the outermost pixels."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(edge, axis=0))


def _hue_shifted(image: Image.Image, shift: int) -> Image.Image:
    """`image` with its hue turned by `shift` 256ths of the circle."""
    hue, saturation, value = image.convert("HSV").split()
    return Image.merge("HSV", (hue.point(lambda h: (h + shift) % 256), saturation, value)).convert("RGB")


def _crops(frame: Image.Image) -> Iterator[Image.Image]:
    for across in SPANS:
        for down in SPANS:
            yield _crop(frame, across, down)


def _crop(frame: Image.Image, across: tuple[float, float], down: tuple[float, float]) -> Image.Image:
    """What lies between two fractions of the width and two of the height."""
    box = (across[0] * SIDE, down[0] * SIDE, across[1] * SIDE, down[1] * SIDE)
    return frame.resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def _content_box(image: Image.Image, whole: Image.Image) -> tuple[int, int, int, int]:
    """What is left of `image` when rows and columns of one colour are taken from its edges, again and again: a
    padded picture may have had a border of its own."""
    left, top, right, bottom = 0, 0, SIDE, SIDE
    calm = whole.filter(ImageFilter.BoxBlur(1))
    for _ in range(TRIM_ROUNDS):
        part = calm.crop((left, top, right, bottom))
        backdrop = Image.new("RGB", part.size, border_colour(part))
        differs = np.asarray(ImageChops.difference(part, backdrop)).max(axis=2) > BORDER_CONTRAST
        rows, columns = (np.flatnonzero(differs.sum(axis=axis) > 1) for axis in (1, 0))
        if min(len(rows), len(columns)) < SIDE // 8 or differs.size == len(rows) * len(columns):
            break
        left, right = left + int(columns[0]), left + int(columns[-1]) + 1
        top, bottom = top + int(rows[0]), top + int(rows[-1]) + 1
    across, down = image.width / SIDE, image.height / SIDE
    return round(left * across), round(top * down), round(right * across), round(bottom * down)
