"""How far retrainings lie apart, figure by figure: the unit in which the gate reads every gap.

A retraining is a draw: another seed gives another model. Captions of a set share words that a retrained model does not
know, so all pairs of a set move together from seed to seed, by far more than a standard error over pairs would say. So
the spread is not computed, it was measured, on gold standards that were trained for the benchmark; `spread.json` beside
this file holds it with its origin, and `python -m bench.forgetting.spread` writes that file anew.
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

FILE = "spread.json"


@dataclass(frozen=True)
class Spread:
    """Standard deviations between retrainings.

    Attributes:
        deviations: figure → standard deviation of one retraining about the mean of all, in the figure's own unit.
        smallest: pairs in the smallest forget set that they were measured on; smaller sets move more. What the
            deviation over pairs varies by is given for a set of that size: it falls as the root of the number of pairs.
    """

    deviations: dict[str, float]
    smallest: int

    def of_difference(self, figure: str, references: int, extra: float = 0.0) -> float:
        """Standard deviation of one retraining minus the mean of `references` others.

        Args:
            extra: variance of a single set that comes on top, because it is smaller than those measured; below 0 where
                a larger one varies less.
        """
        return math.sqrt((self.deviations[figure] ** 2 + extra) * (1 + 1 / references))

    def of_small_set(self, variance: float, count: int) -> float:
        """What a mean over `count` pairs of `variance` varies more than one over the smallest set measured."""
        return variance * max(0.0, 1 / count - 1 / self.smallest)


@cache
def recorded() -> Spread:
    """The spread that comes with the library."""
    content: dict[str, Any] = json.loads((files("expunge.evaluation") / FILE).read_text(encoding="utf-8"))
    figures = {name: figure["deviation"] for name, figure in content["figures"].items()}
    return Spread(figures, content["smallest_set"])
