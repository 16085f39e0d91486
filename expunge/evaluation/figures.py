"""The figures that the gate judges by, and how each is read from a block of `metrics.json`."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean
from typing import Any, Literal

Block = Mapping[str, Any]


def _both_ways(block: Block) -> float:
    """R@1, mean of image→text and text→image."""
    return (block["image_to_text_r1"] + block["text_to_image_r1"]) / 2


def _similarity(block: Block) -> float:
    return block["pair_similarity"]


def _deviation(block: Block) -> float:
    """Logarithm of the standard deviation over pairs: what counts is the ratio of two."""
    return math.log(max(block["pair_similarity_sd"], 1e-6))


@dataclass(frozen=True)
class JudgedFigure:
    """One figure of a model.

    Attributes:
        name: as in the gate's checks and in `spread.json`.
        meaning: one sentence for reports.
        sides: on which side of the retrainings a gap counts.
        above, below: what a model is called whose gap lies on that side.
        group: the set that it is read on.
        read: block → value.
        needs: pairs that there must be at least.
        by_caption: whether it varies between retrainings as a mean over the captions of a set does (see `overlap`).
    """

    name: str
    meaning: str
    sides: Literal["both", "above", "below"] = "both"
    above: str = "ineffective"
    below: str = "over-generalised"
    group: str = "forget"
    read: Callable[[Block], float] = _similarity
    needs: int = 1
    by_caption: bool = False


FORGOTTEN = (
    JudgedFigure(
        "forget_recall",
        "Share of forgotten pictures and captions that still find each other first, against retrained models.",
        read=_both_ways,
    ),
    JudgedFigure(
        "forget_similarity",
        "Mean similarity of the forgotten pairs, against that of retrained models.",
        by_caption=True,
    ),
    JudgedFigure(
        "forget_deviation",
        "How much the forgotten pairs differ among themselves in similarity, against retrained models.",
        above="over-generalised",
        read=_deviation,
        needs=8,
        by_caption=True,
    ),
)
"""Of the forgotten pairs, all together and request by request."""

RETAINED = tuple(
    JudgedFigure(f"{short}_{what}", meaning.format(whose), "below", below=kind, group=group, read=read)
    for group, short, whose, kind in (
        ("neighbours", "neighbour", "the nearest retained pairs", "over-generalised"),
        ("retain", "retain", "other retained pairs", "catastrophic"),
        ("test", "test", "pairs never trained on", "catastrophic"),
    )
    for what, meaning, read in (
        ("recall", "Share of {} that find each other first, below that of retrained models.", _both_ways),
        ("similarity", "Mean similarity of {}, below that of retrained models.", _similarity),
    )
)
"""Of the pairs that stay; only a loss counts."""


MEMBERSHIP = JudgedFigure("membership", "Membership attack's AUC against that on retrained models.", by_caption=True)
SHAPE = JudgedFigure(
    "forget_shape",
    "Distribution of the forgotten pairs' similarities about their mean, against that of retrained models.",
    sides="above",
    above="over-generalised",
)
ROWS = JudgedFigure(
    "token_rows",
    "Length of the forgotten words' rows among the weights, against that in retrained models.",
    below="over-generalised",
)
HEAP = JudgedFigure(
    "word_heap",
    "How near to each other the text tower puts the forgotten words, against retrained models.",
    sides="above",
    above="over-generalised",
)

SIDES = {figure.name: figure.sides for figure in (*FORGOTTEN, *RETAINED, MEMBERSHIP, SHAPE, ROWS, HEAP)}
"""Figure → on which side of the retrainings a gap counts."""


def chance_variance(figure: JudgedFigure, retrainings: Sequence[Block]) -> float:
    """What a figure of this set varies by chance on top of the recorded spread.

    Of recall all of it counts, since most recorded sets have a recall of nought, which does not vary: the binomial
    variance, by Jeffreys' estimate of the share among the retrainings at hand.
    """
    if figure.name != "forget_recall":
        return 0.0
    count = retrainings[0]["count"]
    hits = fmean(_both_ways(block) for block in retrainings) * count
    share = (hits + 0.5) / (count + 1)
    return share * (1 - share) / count
