"""What would an image generator still be told of a forgotten concept? The text tower as a conditioner.

Stable Diffusion paints what it reads in the token states of a CLIP text tower, after the last layer norm and before the
projection (Rombach et al. 2022, arXiv 2112.10752, section 3.3). Unlearning that only turned the projection would leave
them whole. Without a diffusion model the question is asked of a linear generator:

1. States of a caption: the mean of its token states from start to end token, and the state of the end token, side by
   side, [2 W].
2. Generator: ridge regression from the states of retained captions to the image embeddings that the *original* model
   gives their pictures; these stand for pixels. The penalty is chosen by generalised cross-validation.
3. For the original and the unlearned model the generator is fitted on the original's states, as a generator that was
   trained before the text tower was exchanged; for the gold standard on the gold standard's own, as one that was
   trained without the concept.
4. Each forgotten caption's states are decoded and compared with all pictures of the catalog.

A linear generator sees less than a real one: a low figure does not prove that nothing is conveyed, a high one proves
that something is. `expunge.examination.diffusion` asks the same of a real generator.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from sklearn.linear_model import RidgeCV
from torch import Tensor, nn

from expunge.models.clip import Clip
from expunge.project.errors import ExpungeError

PENALTIES = tuple(np.logspace(-3, 4, 8))


@dataclass(frozen=True)
class Generator:
    """Linear map from a caption's states to an image embedding.

    Attributes:
        weight: float64 [D, 2 W].
        bias: float64 [D].
    """

    weight: Tensor
    bias: Tensor

    def __call__(self, states: Tensor) -> Tensor:
        """Unit image embeddings [B, D] for states [B, 2 W]."""
        return nn.functional.normalize(states.double() @ self.weight.T + self.bias, dim=-1)


def fit_generator(states: Tensor, images: Tensor) -> Generator:
    """The generator that best paints `images` [R, D] from `states` [R, 2 W] of their captions, both retained only."""
    ridge = RidgeCV(alphas=PENALTIES).fit(states.double().numpy(), images.double().numpy())
    return Generator(torch.from_numpy(ridge.coef_), torch.from_numpy(ridge.intercept_))


def conveyed(
    generator: Generator, states: Tensor, images: Tensor, labels: Sequence[str], rows: np.ndarray
) -> dict[str, float]:
    """How much of the pictures at `rows` the generator paints from their captions' states.

    Args:
        states: of the captions of `rows` under the model in question, [F, 2 W].
        images: unit image embeddings of the catalog under the original model, [N, D].
        labels: class names of the catalog, N of them.
        rows: int64 [F].

    Returns:
        `conditioned_r1`: share of captions whose painting is most similar to their own picture; `conditioned_class`:
        share whose most similar picture is of the right class, the counterpart of a detector's hits;
        `conditioned_similarity`: mean cosine of painting and own picture.
    """
    painted = generator(states)
    scores = painted @ images.double().T
    nearest = scores.argmax(dim=1).numpy()
    coded = np.unique(np.asarray(labels), return_inverse=True)[1]
    return {
        "conditioned_r1": float((nearest == rows).mean()),
        "conditioned_class": float((coded[nearest] == coded[rows]).mean()),
        "conditioned_similarity": scores[torch.arange(len(rows)), torch.from_numpy(rows)].mean().item(),
    }


def can_read(clip: Clip) -> bool:
    """Whether the text tower is open_clip's own and read at the highest id, as those of image generators are."""
    tower: Any = clip.model if hasattr(clip.model, "ln_final") else getattr(clip.model, "text", None)
    pooling = getattr(tower, "text_pool_type", getattr(tower, "pool_type", None))
    return hasattr(tower, "ln_final") and pooling == "argmax" and getattr(tower, "cls_emb", None) is None


@torch.inference_mode()
def caption_states(clip: Clip, texts: Sequence[str], batch_size: int = 256) -> Tensor:
    """States [N, 2 W] (float32, CPU) of `texts`: mean over tokens, then end token.

    Raises:
        ExpungeError: the text tower is not open_clip's own.
    """
    norm = text_tower(clip).ln_final
    seen: list[Tensor] = []
    handle = norm.register_forward_hook(lambda module, inputs, output: seen.append(output.float()))
    parts = []
    clip.model.eval()
    try:
        for start in range(0, len(texts), batch_size):
            tokens = clip.tokenizer(list(texts[start : start + batch_size]))
            clip.model.encode_text(tokens.to(clip.device))  # at full length and in order, as the hook sees it
            parts.append(_summary(seen.pop().cpu(), tokens))
    finally:
        handle.remove()
    return torch.cat(parts)


def text_tower(clip: Clip) -> Any:
    """The module that holds `token_embedding`, `transformer` and `ln_final`; open_clip brings no types for it.

    Raises:
        ExpungeError: the text tower is not open_clip's own.
    """
    tower: Any = clip.model if hasattr(clip.model, "ln_final") else getattr(clip.model, "text", None)
    if not hasattr(tower, "ln_final"):
        raise ExpungeError("This model's text tower is not open_clip's own, so its token states cannot be read.")
    return tower


def _summary(states: Tensor, tokens: Tensor) -> Tensor:
    # The end token has the largest id of the vocabulary; what follows it is padding.
    end = tokens.argmax(dim=1)
    read = (torch.arange(tokens.shape[1]) <= end[:, None]).float()[:, :, None]
    mean = (states * read).sum(dim=1) / read.sum(dim=1)
    return torch.cat([mean, states[torch.arange(len(states)), end]], dim=1)
