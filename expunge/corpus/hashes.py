"""Perceptual hashes: 256 bits that hardly change when a picture is compressed, rescaled or recoloured.

The catalog keeps two of every picture, of the whole and of what is left without a plain border, so that looking for
near-duplicates decodes no picture of the catalog but those worth comparing.
"""

from __future__ import annotations

import io
from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageChops, ImageFilter

from expunge.corpus.pictures import FORMATS, MAX_PIXELS, as_rgb

SIDE = 64
"""Pixels on each side of a compared picture: finer detail does not survive rescaling."""
HASH_SIDE = 16
BITS = HASH_SIDE**2
SOFTEN = 1.0
FRAMES = 2
PACKED = FRAMES * BITS // 8
"""Bytes of the hashes of one sample."""
TRIM_ROUNDS = 8
BORDER_CONTRAST = 40

Box = tuple[float, float, float, float]


def packed_hashes(data: bytes) -> bytes | None:
    """The hashes of both frames of an encoded picture, bit by bit; None where it cannot be decoded.

    A picture that cannot be decoded is refused by whoever needs its pixels, with its reason.
    """
    try:
        with Image.open(io.BytesIO(data), formats=FORMATS) as image:
            if image.width * image.height > MAX_PIXELS:
                return None
            return np.packbits(perceptual_hashes(frames(as_rgb(image))), axis=1).tobytes()
    except Exception:  # Pillow's decoders raise whatever a damaged file leads them to
        return None


def perceptual_hash(image: Image.Image) -> np.ndarray:
    """DCT hash of a standard picture, bool [256] (Zauner, Implementation and Benchmarking of Perceptual Image Hash
    Functions, 2010; `imagehash.phash`)."""
    import imagehash

    soft = image.filter(ImageFilter.GaussianBlur(SOFTEN))
    return imagehash.phash(soft, HASH_SIDE, SIDE // HASH_SIDE).hash.ravel()


def perceptual_hashes(images: Iterable[Image.Image]) -> np.ndarray:
    """Hashes of standard pictures, bool [N, 256]."""
    return np.stack([perceptual_hash(image) for image in images])


def distances(left: np.ndarray, right: np.ndarray) -> np.ndarray:
    """Differing bits of every pair: bool [M, 256] and [N, 256] → int [M, N]."""
    ones, others = left.astype(np.float32), right.astype(np.float32)
    # |a - b|² = |a| + |b| - 2 a·b for bits: one matrix product instead of M x N comparisons.
    total = ones.sum(axis=1)[:, None] + others.sum(axis=1)[None]
    return np.rint(total - 2 * (ones @ others.T)).astype(np.int64)


def standard(image: Image.Image) -> Image.Image:
    """RGB at the size of comparison; the aspect ratio does not count."""
    return image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC)


def frames(image: Image.Image) -> tuple[Image.Image, Image.Image]:
    """The whole picture, and the same without its plain border, both standard."""
    whole = standard(image)
    left, top, right, bottom = content_box(whole)
    across, down = image.width / SIDE, image.height / SIDE
    box = (left * across, top * down, right * across, bottom * down)
    return whole, image.convert("RGB").resize((SIDE, SIDE), Image.Resampling.BICUBIC, box=box)


def border_colour(image: Image.Image) -> tuple[int, ...]:
    """The median colour of the outermost pixels."""
    pixels = np.asarray(image)
    edge = np.concatenate([pixels[0], pixels[-1], pixels[:, 0], pixels[:, -1]])
    return tuple(int(value) for value in np.median(edge, axis=0))


def content_box(whole: Image.Image) -> Box:
    """What is left when rows and columns of one colour are taken from the edges, again and again: a padded picture
    may have had a border of its own."""
    left, top, right, bottom = 0, 0, SIDE, SIDE
    calm = whole.filter(ImageFilter.BoxBlur(1))
    for _ in range(TRIM_ROUNDS):
        part = calm.crop((left, top, right, bottom))
        backdrop = Image.new("RGB", part.size, border_colour(part))
        differs = np.asarray(ImageChops.difference(part, backdrop)).max(axis=2) > BORDER_CONTRAST
        rows, columns = (np.flatnonzero(differs.sum(axis=axis) > 1) for axis in (1, 0))
        if min(len(rows), len(columns)) < SIDE // 8:
            break
        # Where a border ends, rescaling has left a row that is half border: it would hide a border within.
        off = [edge + 1 if edge else 0 for edge in (columns[0], rows[0], part.width - 1 - columns[-1])]
        off.append(edge + 1 if (edge := part.height - 1 - rows[-1]) else 0)
        if not any(off):
            break
        left, top, right, bottom = left + int(off[0]), top + int(off[1]), right - int(off[2]), bottom - int(off[3])
    return left, top, right, bottom
