"""When the catalog itself says that two samples are not copies."""

from __future__ import annotations


def declared_apart(concept: str, variant: str | None, other_concept: str, other_variant: str | None) -> bool:
    """Whether the catalog itself says that two samples differ: another skin tone differs as a recoloured copy does.

    Variants are named alike for all concepts, so they tell samples of two concepts apart where both declare one.
    """
    comparable = concept == other_concept or (variant is not None and other_variant is not None)
    return comparable and variant != other_variant
