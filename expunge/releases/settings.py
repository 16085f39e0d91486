"""Defaults of a new release."""

from __future__ import annotations

from expunge.project.schema import Block


class ReleaseParams(Block):
    """Defaults of a new release; each release freezes its own in `releases/R/release.yaml`."""

    method: str
    gold: bool = True
