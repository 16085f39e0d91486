"""Does a picture find pictures of its class? Image→image retrieval, which no caption takes part in.

A model that only tore pairs apart keeps this; one that destroyed its image features loses it. The yardstick is the
gold standard's value: pictures of one class look alike to a model that never saw them, too.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from expunge.embeddings.gallery import BLOCK

DEPTHS = (1, 5)


def precision(images: Tensor, labels: Sequence[str], rows: np.ndarray) -> dict[str, float]:
    """`image_to_image_pK`: share of the K most similar other images that have the query's label, mean over `rows`.

    Precision at k (Manning et al. 2008, Introduction to Information Retrieval, section 8.4) against the full gallery,
    the query itself left out; a class of its own can only score 0.

    Args:
        images: unit image embeddings of the catalog, [N, D] with N > 5.
        labels: class names, N of them.
        rows: the queries, int64 [Q], at least one.
    """
    coded = torch.from_numpy(np.unique(np.asarray(labels), return_inverse=True)[1])
    hits = []
    for start in range(0, len(rows), BLOCK):
        queries = torch.from_numpy(rows[start : start + BLOCK])
        scores = images[queries] @ images.T
        scores[torch.arange(len(queries)), queries] = -torch.inf
        nearest = scores.topk(max(DEPTHS), dim=1).indices
        hits.append(coded[nearest] == coded[queries][:, None])
    hit = torch.cat(hits).double()
    return {f"image_to_image_p{depth}": hit[:, :depth].mean().item() for depth in DEPTHS}
