"""Ten ways in which a picture comes back as a near-duplicate, for the benchmark and the tests; all draw from `draw`."""

from __future__ import annotations

import io
import random
from collections.abc import Callable

import numpy as np
from PIL import Image, ImageDraw, ImageEnhance, ImageFilter, ImageOps

Change = Callable[[Image.Image, random.Random], Image.Image]


def encoded(image: Image.Image, kind: str = "PNG", **options: int) -> bytes:
    """The picture as a file of this kind."""
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def crop(image: Image.Image, draw: random.Random) -> Image.Image:
    share = draw.uniform(0.8, 0.95)
    width, height = round(image.width * share), round(image.height * share)
    left, top = draw.randint(0, image.width - width), draw.randint(0, image.height - height)
    return image.crop((left, top, left + width, top + height))


def rescale(image: Image.Image, draw: random.Random) -> Image.Image:
    factor = draw.choice((0.5, 0.75, 1.5, 2))
    return image.resize((round(image.width * factor), round(image.height * factor)), Image.Resampling.BICUBIC)


def compress(image: Image.Image, draw: random.Random) -> Image.Image:
    return Image.open(io.BytesIO(encoded(image, "JPEG", quality=draw.randint(25, 70)))).convert("RGB")


def recolour(image: Image.Image, draw: random.Random) -> Image.Image:
    """Another hue or another saturation."""
    if draw.random() < 0.5:
        return ImageEnhance.Color(image).enhance(draw.choice((0, draw.uniform(0.2, 0.7), draw.uniform(1.4, 2.5))))
    hue, saturation, value = image.convert("HSV").split()
    shift = draw.randint(10, 246)
    return Image.merge("HSV", (hue.point(lambda h: (h + shift) % 256), saturation, value)).convert("RGB")


def mirror(image: Image.Image, draw: random.Random) -> Image.Image:
    return ImageOps.mirror(image)


def rotate(image: Image.Image, draw: random.Random) -> Image.Image:
    angle = draw.uniform(3, 8) * draw.choice((-1, 1))
    return image.rotate(angle, Image.Resampling.BICUBIC, fillcolor=image.getpixel((0, 0)))


def relight(image: Image.Image, draw: random.Random) -> Image.Image:
    return ImageEnhance.Brightness(image).enhance(draw.choice((draw.uniform(0.6, 0.8), draw.uniform(1.2, 1.4))))


def blur(image: Image.Image, draw: random.Random) -> Image.Image:
    return image.filter(ImageFilter.GaussianBlur(draw.uniform(0.5, 1.5) * image.width / 64))


def pad(image: Image.Image, draw: random.Random) -> Image.Image:
    border = round(image.width * draw.uniform(0.05, 0.15))
    return ImageOps.expand(image, border, draw.choice(("white", "black", "gray")))


def overlay(image: Image.Image, draw: random.Random) -> Image.Image:
    """A small box of one colour, or noise all over."""
    if draw.random() < 0.5:
        pixels = np.asarray(image, np.float64)
        noise = np.random.default_rng(draw.getrandbits(32)).normal(0, draw.uniform(8, 20), pixels.shape)
        return Image.fromarray((pixels + noise).clip(0, 255).astype(np.uint8))
    changed, size = image.copy(), image.width // 6
    left, top = draw.randint(0, image.width - size), draw.randint(0, image.height - size)
    colour = tuple(draw.randint(0, 255) for _ in range(3))
    ImageDraw.Draw(changed).rectangle((left, top, left + size, top + size // 2), fill=colour)
    return changed


CHANGES: tuple[Change, ...] = (crop, rescale, compress, recolour, mirror, rotate, relight, blur, pad, overlay)
