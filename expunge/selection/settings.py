"""Settings of the retain set."""

from __future__ import annotations

from expunge.project.schema import Block, Count


class SelectParams(Block):
    """How many retained samples guard a release."""

    neighbours: Count = 200
    random: Count = 512
