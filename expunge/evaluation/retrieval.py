"""Does an image find its caption, and a caption its image? Recall at k against the full gallery."""

from __future__ import annotations

from torch import Tensor

from expunge.embeddings.gallery import Matches

DEPTHS = (1, 5, 10)


def recall(matches: Matches, rows: Tensor) -> dict[str, float]:
    """`image_to_text_rK` and `text_to_image_rK` of the pairs at `rows`, fractions in [0, 1]."""
    ranks = {"image_to_text": matches.image_rank[rows], "text_to_image": matches.text_rank[rows]}
    return {f"{way}_r{depth}": (rank < depth).double().mean().item() for way, rank in ranks.items() for depth in DEPTHS}
