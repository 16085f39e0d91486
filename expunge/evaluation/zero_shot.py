"""Does the model name the class of a picture? Zero-shot classification with an ensemble of prompts.

Each class is the normalised mean of its prompts' embeddings (Radford et al. 2021, section 3.1.4); all classes of the
catalog compete.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import Tensor

from expunge.embeddings.gallery import Encoder
from expunge.models.training import spoken


def classify(
    clip: Encoder, images: Tensor, classes: Sequence[str], rows: np.ndarray, templates: tuple[str, ...]
) -> Tensor:
    """Whether each image's class is the most similar one: bool [R].

    Args:
        images: unit embeddings [R, D] of the samples at `rows`.
        classes: the class of every sample of the catalog; all of them compete.
    """
    names = sorted(set(classes))
    place = {name: number for number, name in enumerate(names)}
    right = torch.tensor([place[classes[row]] for row in rows.tolist()], dtype=torch.int64)
    return (images @ class_prototypes(clip, names, templates).T).argmax(dim=1) == right


def class_prototypes(clip: Encoder, names: list[str], templates: tuple[str, ...]) -> Tensor:
    """Unit embedding of each class, [C, D]."""
    prompts = [template.format(**{"class": spoken(name)}) for name in names for template in templates]
    embedded = clip.encode_texts(prompts).view(len(names), len(templates), -1).mean(dim=1)
    return torch.nn.functional.normalize(embedded, dim=-1)
