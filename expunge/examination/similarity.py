"""Do two models represent the same rows alike? Linear centred kernel alignment (CKA).

For features X [N, D] and Y [N, E] with centred columns
    CKA = ||Yᵀ X||²_F / (||Xᵀ X||_F ||Yᵀ Y||_F),
which equals HSIC(X, Y) / sqrt(HSIC(X, X) HSIC(Y, Y)) with linear kernels but costs O(N D E) rather than O(N²)
(Kornblith et al. 2019, arXiv 1905.00414, section 3). It is 1 for features that agree up to rotation and isotropic
scale, so models of different trainings can be compared; the yardstick of an unlearned model is the gold standard
(arXiv 2503.06991 compares both on forgotten and on retained rows).
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

from expunge.embeddings.gallery import Gallery


def alignment(first: Gallery, second: Gallery, rows: np.ndarray) -> dict[str, float]:
    """`image_cka` and `text_cka` of two models on `rows`, in [0, 1]."""
    chosen = torch.from_numpy(rows)
    return {
        "image_cka": linear_cka(first.images[chosen], second.images[chosen]),
        "text_cka": linear_cka(first.texts[chosen], second.texts[chosen]),
    }


def linear_cka(first: Tensor, second: Tensor) -> float:
    """Linear CKA of features [N, D] and [N, E]; 0 where one of them is the same for all rows."""
    x, y = (features.double() - features.double().mean(dim=0) for features in (first, second))
    scale = torch.linalg.matrix_norm(x.T @ x) * torch.linalg.matrix_norm(y.T @ y)
    if scale == 0:
        return 0.0
    return ((y.T @ x).square().sum() / scale).item()
