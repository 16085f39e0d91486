"""Pictures from their encoded bytes to the network: decoded by threads, ahead of the device."""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor

from expunge.corpus.pictures import decode_image
from expunge.models.clip import Clip
from expunge.project.costs import Phases
from expunge.project.progress import brief

AHEAD = 2
"""Batches that are decoded while the device encodes one."""
THREADS = 16
"""At most; pictures decode without Python's lock, so each thread keeps a core busy."""


def encode_pictures(
    clip: Clip, ids: Sequence[str], pictures: Sequence[bytes], batch_size: int, phases: Phases | None = None
) -> np.ndarray:
    """Unit image embeddings [N, D] (float32) of encoded pictures.

    Args:
        phases: is told the seconds of `decoding`, all threads together, of `waiting` for it, and of `encoding`.

    Raises:
        ExpungeError: a picture cannot be decoded; the message names its id.
    """
    timed = phases or Phases()
    found = np.empty((len(ids), clip.embed_dim), np.float32)
    start = 0
    with brief("encode pictures") as report:
        for pixels in decoded(clip, ids, pictures, batch_size, timed):
            with timed("encoding"):
                found[start : start + len(pixels)] = clip.encode_images(pixels, batch_size).numpy()
            start += len(pixels)
            report(start, len(ids))
    return found


def decoded(
    clip: Clip, ids: Sequence[str], pictures: Sequence[bytes], batch_size: int, phases: Phases | None = None
) -> Iterator[Tensor]:
    """uint8 pixels [B, 3, H, W] in batches, in order; the next batches are decoded meanwhile.

    Raises:
        ExpungeError: a picture cannot be decoded; the message names its id.
    """
    timed = phases or Phases()

    def decode(name: str, data: bytes) -> Tensor:
        with timed("decoding"):
            return clip.pixels(decode_image(data, name))

    def stacked(batch: list[Future[Tensor]]) -> Tensor:
        with timed("waiting"):
            return torch.stack([future.result() for future in batch])

    starts = range(0, len(ids), batch_size)
    with ThreadPoolExecutor(min(THREADS, os.cpu_count() or 1)) as pool:
        waiting: deque[list[Future[Tensor]]] = deque()
        for start in starts:
            batch = slice(start, start + batch_size)
            waiting.append([pool.submit(decode, *one) for one in zip(ids[batch], pictures[batch], strict=True)])
            if len(waiting) > AHEAD:
                yield stacked(waiting.popleft())
        while waiting:
            yield stacked(waiting.popleft())
