"""Does an image find its caption, and a caption its image? Recall at k against the full gallery."""

from __future__ import annotations

from torch import Tensor

from expunge.embeddings.gallery import UNRANKED, Matches

DEPTHS = (1, 5, 10)


def recall(matches: Matches, rows: Tensor) -> dict[str, float]:
    """`image_to_text_rK` and `text_to_image_rK` of the pairs at `rows`, fractions in [0, 1].

    Raises:
        ValueError: one of the pairs was not ranked.
    """
    ranks = {"image_to_text": matches.image_rank[rows], "text_to_image": matches.text_rank[rows]}
    if any((rank == UNRANKED).any() for rank in ranks.values()):
        raise ValueError("a pair is reported on that was not ranked")
    return {f"{way}_r{depth}": (rank < depth).double().mean().item() for way, rank in ranks.items() for depth in DEPTHS}
