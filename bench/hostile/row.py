"""One line of a campaign's table."""

from __future__ import annotations

from typing import NamedTuple


class Row(NamedTuple):
    """What was tried, how often, and how often it held: an answer or a refusal in words, within the time."""

    what: str
    tried: int
    held: int

    @property
    def failed(self) -> int:
        return self.tried - self.held
