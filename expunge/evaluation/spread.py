"""How far retrainings lie apart, figure by figure: the unit in which the gate reads every gap.

A retraining is a draw: another seed gives another model. Captions of a set share words that a retrained model does not
know, so all pairs of a set move together from seed to seed, by far more than a standard error over pairs would say. So
the spread is not computed, it was measured, on gold standards that were trained for the benchmark; `spread.json` beside
this file holds it with its origin, and `python -m bench.forgetting.spread` writes that file anew. How far a set moves
depends on how many captions it hangs on (`overlap`), so the spread of what is forgotten is recorded for one caption.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cache
from importlib.resources import files
from typing import Any

FILE = "spread.json"


@dataclass(frozen=True)
class Spread:
    """Standard deviations between retrainings.

    Attributes:
        deviations: figure → standard deviation of one retraining about the mean of all, in the figure's own unit; of
            figures that vary with the captions of a set, for a set that hangs on one.
        floors: figure → the part of it that does not fall with the number of captions.
    """

    deviations: dict[str, float]
    floors: dict[str, float] = field(default_factory=dict)

    def of_difference(self, figure: str, references: int, captions: float = 1.0, extra: float = 0.0) -> float:
        """Standard deviation of one retraining minus the mean of `references` others.

        Args:
            captions: the effective number of captions that the figure is over, for figures that vary with it.
            extra: variance of a single set that comes on top.
        """
        variance = self.deviations[figure] ** 2 / captions + self.floors.get(figure, 0.0) ** 2 + extra
        return math.sqrt(variance * (1 + 1 / references))


@cache
def recorded() -> Spread:
    """The spread that comes with the library."""
    content: dict[str, Any] = json.loads((files("expunge.evaluation") / FILE).read_text(encoding="utf-8"))
    return spread_of(content["figures"])


def spread_of(figures: Mapping[str, Mapping[str, float]]) -> Spread:
    """The spread that the block `figures` of the file says."""
    floors = {name: figure["floor"] for name, figure in figures.items() if "floor" in figure}
    return Spread({name: figure["deviation"] for name, figure in figures.items()}, floors)
