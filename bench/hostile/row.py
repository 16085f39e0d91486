"""One line of a campaign's table, and what a campaign has to offer to get one."""

from __future__ import annotations

import random
from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any, Protocol


class Part(Protocol):
    """One kind of attack, of which any number can be made.

    Attributes:
        what: its name in tables.
    """

    what: str

    def attempt(self, number: int, draw: random.Random) -> Outcome:
        """Attack once; everything that is drawn comes from `draw`."""


@dataclass(frozen=True)
class Outcome:
    """What came of one attack.

    Attributes:
        faults: what did not hold; empty where all did.
        note: how it held, where there are several ways.
    """

    faults: tuple[str, ...] = ()
    note: str = ""


@dataclass
class Row:
    """What was tried, how often, and how often it held.

    Attributes:
        places: of each attack that did not hold its number and the first fault.
        notes: how the others held.
        seconds: of all attacks together.
    """

    what: str
    tried: int = 0
    failed: int = 0
    seconds: float = 0.0
    places: list[str] = field(default_factory=list)
    notes: Counter[str] = field(default_factory=Counter)

    @classmethod
    def of(cls, content: dict[str, Any]) -> Row:
        return cls(**content | {"notes": Counter(content["notes"])})

    @property
    def held(self) -> int:
        return self.tried - self.failed

    def add(self, outcome: Outcome, seconds: float = 0.0) -> None:
        """Count one attack."""
        if outcome.faults:
            self.failed += 1
            self.places.append(f"{self.tried}: {outcome.faults[0]:.300}")
        elif outcome.note:
            self.notes[outcome.note] += 1
        self.tried += 1
        self.seconds = round(self.seconds + seconds, 1)

    def content(self) -> dict[str, Any]:
        """For a file."""
        return asdict(self) | {"notes": dict(sorted(self.notes.items()))}
