"""Defaults of a new release."""

from __future__ import annotations

from pydantic import Field

from expunge.project.schema import Block


class ReleaseParams(Block):
    """Defaults of a new release; each release freezes its own in `releases/R/release.yaml`."""

    methods: tuple[str, ...] = Field(min_length=1, description="tried in turn until one passes the gate")
    gold: bool = True
