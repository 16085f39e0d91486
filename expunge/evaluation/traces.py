"""Does the text tower itself name what was forgotten? Two scans that need no pictures.

- *Rows*: weights of a token that nothing retained uses have nothing to learn from. In a retrained model they are as
  training found them; a method that erases word by word leaves them too short, one that forgot nothing too long.
- *Heap*: the words that only forgotten captions have, as texts of their own. A retrained model does not know them and
  puts them here and there; a method that pushes them away puts them all on one heap.

Both are read against never-trained tokens and words of the same model, so that they need no second model, and then
compared with what retrainings have.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from expunge.models.clip import Clip
from expunge.models.network import text_tower
from expunge.models.pairs import Wording
from expunge.models.settings import TrainParams
from expunge.models.training import possible_captions

FEWEST = 5
"""Of fewer words no heap can be told."""
MOST = 2000
"""Never-trained tokens that are looked at."""
BLOCK = 16384
"""Captions that are tokenised at a time."""


@dataclass(frozen=True)
class Words:
    """What the scans look for.

    Attributes:
        own_tokens, unseen_tokens: ids that only forgotten captions have, and ids that no caption of the corpus has.
        own_words, unseen_words: words that only forgotten captions have, and words that only held-out ones have.
    """

    own_tokens: list[int]
    unseen_tokens: list[int]
    own_words: list[str]
    unseen_words: list[str]


def words_of(clip: Clip, forget: Wording, remaining: Wording, held_out: Wording, recipe: TrainParams) -> Words:
    """The words and tokens of a release, told apart by which captions the recipe can draw for which pairs."""
    own, kept, other = (possible_captions(wording, recipe) for wording in (forget, remaining, held_out))
    own_ids, kept_ids, other_ids = (_tokens(clip, captions) for captions in (own, kept, other))
    own_words, kept_words, other_words = (_words(captions) for captions in (own, kept, other))
    size = clip.config["model_cfg"]["text_cfg"].get("vocab_size", 49408)
    used = own_ids | kept_ids | other_ids
    unseen = [token for token in range(256, size - 2) if token not in used]
    return Words(
        sorted(own_ids - kept_ids),
        unseen[:: max(1, len(unseen) // MOST)],
        sorted(own_words - kept_words),
        sorted(other_words - kept_words - own_words),
    )


def traces(clip: Clip, words: Words) -> dict[str, Any]:
    """The figures of both scans; `row_shift` and `heap` are None where there is too little to look at.

    - `row_shift`: mean norm of the forgotten tokens' rows, in standard deviations about that of never-trained ones;
    - `rows`: how many rows that is the mean of;
    - `heap`: mean cosine among forgotten words less that among never-trained ones;
    - `heap_error`: its standard error, by leaving out one word at a time.
    """
    shift = _row_shift(clip.model, words)
    heap, error = _heap(clip, words)
    return {"row_shift": shift, "rows": len(words.own_tokens), "heap": heap, "heap_error": error}


def _row_shift(model: nn.Module, words: Words) -> float | None:
    tower = text_tower(model)
    if tower is None or not words.own_tokens or len(words.unseen_tokens) < FEWEST:
        return None
    norms = tower.token_embedding.weight.detach().float().norm(dim=1).cpu()
    plain = norms[words.unseen_tokens]
    return ((norms[words.own_tokens].mean() - plain.mean()) / plain.std()).item()


def _heap(clip: Clip, words: Words) -> tuple[float | None, float | None]:
    if min(len(words.own_words), len(words.unseen_words)) < FEWEST:
        return None, None
    parts = [_mutual(clip.encode_texts(chosen)) for chosen in (words.own_words, words.unseen_words)]
    (own, own_error), (unseen, unseen_error) = parts
    return own - unseen, float(np.hypot(own_error, unseen_error))


def _mutual(texts: Tensor) -> tuple[float, float]:
    """Mean cosine among different rows, and its jackknife standard error."""
    count = len(texts)
    cosines = (texts @ texts.T).double()
    cosines.fill_diagonal_(0)
    whole = cosines.sum() / (count * (count - 1))
    without = (cosines.sum() - 2 * cosines.sum(dim=1)) / ((count - 1) * (count - 2))
    error = ((count - 1) / count * (without - without.mean()).square().sum()).sqrt()
    return whole.item(), error.item()


def _tokens(clip: Clip, captions: list[str]) -> set[int]:
    blocks = (captions[start : start + BLOCK] for start in range(0, len(captions), BLOCK))
    return {token for block in blocks for token in torch.unique(clip.tokenizer(block)).tolist()}


def _words(captions: Iterable[str]) -> set[str]:
    found = {word.strip(".,:;!?&()'\"“”’") for caption in captions for word in caption.casefold().split()}
    return {word for word in found if len(word) > 2}
