"""How many captions a set hangs on: captions that share words count as fewer.

A retrained model puts a word that it does not know here or there, as its seed has it, and takes along each caption that
has the word. So the mean over a set of 17 captions that share one word varies from seed to seed like that of a single
one, over 226 names of countries like that of a hundred and more. Kish's effective sample size says which (*Survey
Sampling*, 1965): n / (1 + (n - 1) ρ), with ρ the mean cosine of two captions' sets of tokens. It is 1.5 to 124 on the
seven sets of the benchmark, where the variance between retrainings falls with it (docs/log.md).
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence

import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.models.clip import Clip
from expunge.project.columns import strings

BLOCK = 4096
"""Captions that are tokenised at a time."""


def effective_captions(clip: Clip, captions: Sequence[str]) -> float:
    """The number of captions without a token in common that would vary as much, 1 to `len(captions)`.

    Args:
        captions: one at least. Tokens are those of the model's tokenizer, in any language; one that every text has, as
            start, end and padding, does not count.
    """
    everywhere = set(clip.tokenizer([""]).flatten().tolist())
    total: defaultdict[int, float] = defaultdict(float)
    wordless = 0
    for start in range(0, len(captions), BLOCK):
        for row in clip.tokenizer(list(captions[start : start + BLOCK])).tolist():
            own = set(row) - everywhere
            wordless += not own
            for token in own:
                total[token] += 1 / math.sqrt(len(own))
    # The squared length of the sum of all unit vectors is the sum of all cosines, each caption's with itself included.
    return len(captions) ** 2 / (sum(value**2 for value in total.values()) + wordless)


def effective_by_request(
    clip: Clip, catalog: Catalog, rows: np.ndarray, requests: Mapping[str, np.ndarray]
) -> dict[str, float]:
    """`effective_captions` of the canonical captions at `rows` under "", and of each request's under its id."""
    said = catalog.metadata["caption"]
    return {
        name: effective_captions(clip, strings(said.take(chosen))) for name, chosen in {"": rows, **requests}.items()
    }
