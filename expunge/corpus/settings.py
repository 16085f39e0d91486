"""Settings of the corpus."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field

from expunge.project.schema import Block, Count, Fraction


class HoldoutParams(Block):
    """Shares of the corpus that are never trained on."""

    calibration: Fraction = 0.08
    test_concepts: Fraction = 0.03
    test_variants: Fraction = 0.05


class CatalogParams(Block):
    """What the catalog is made of."""

    source: str = "openmoji"
    image_size: Annotated[int, Field(ge=16, le=1024)] = 64
    languages: tuple[str, ...] = ("en", "de", "es", "fr", "zh")
    rows_per_shard: Count = 512
    limit: Annotated[int, Field(ge=0)] = 0
    holdout: HoldoutParams = HoldoutParams()
