"""Where forgotten pairs would be, had nobody ever seen them: the reference of a gate without a gold standard."""

from __future__ import annotations

from collections.abc import Set
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import Gallery
from expunge.evaluation.sets import rows_of
from expunge.project.columns import strings
from expunge.project.scratch import take_rows
from expunge.unlearning.calibration import MOST, even_share, never_seen_level
from expunge.unlearning.problem import Seen


class Remaining(NamedTuple):
    """Pairs that stay in training, without the parent's text embeddings, which nothing is estimated from."""

    captions: list[str]
    images: Tensor


def expected_similarity(catalog: Catalog, original: Gallery, forget: np.ndarray, forgotten: Set[str]) -> float:
    """Mean cosine that the rows `forget` would have under a model that never saw them.

    Args:
        original: the parent's view of the catalog.
        forgotten: sample ids of this release and its ancestors; nothing is estimated from them.

    Raises:
        ExpungeError: there are too few held-out pairs to estimate from.
    """
    captions = catalog.metadata["caption"]

    def seen(rows: np.ndarray) -> Seen:
        images, texts = (torch.from_numpy(take_rows(side.numpy(), rows)) for side in (original.images, original.texts))
        return Seen(strings(captions.take(rows)), images, texts)

    held_out = rows_of(catalog, catalog.split_ids("calibration") - forgotten)
    held_out = held_out[even_share(len(held_out), MOST)]
    trained = rows_of(catalog, catalog.split_ids("train") - forgotten)
    remaining = Remaining(
        strings(captions.take(trained)), torch.from_numpy(take_rows(original.images.numpy(), trained))
    )
    return float(never_seen_level(seen(forget), seen(held_out), remaining).mean())
