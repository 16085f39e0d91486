"""Perceptual hashes: 256 bits that hardly change when a picture is compressed, rescaled or recoloured."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from PIL import Image, ImageFilter

from expunge.near_duplicates.pictures import SIDE

HASH_SIDE = 16
BITS = HASH_SIDE**2
SOFTEN = 1.0


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
