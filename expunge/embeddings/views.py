"""What models see of the whole catalog, from what stores hold already: only what no store holds is encoded.

A store holds vectors by the tower that made them, so a release's model finds its image embeddings in its parent's store
where it left the image tower alone. What is left to encode is what a store may not hold, the forgotten samples, and
what a model without a store makes of everything: a gold standard, or a candidate that is judged before it is embedded.

Vectors are float16 throughout, as stores keep them, those that are encoded here included: all models are read alike.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import Gallery, temperature
from expunge.embeddings.store import Embeddings
from expunge.models.clip import Clip
from expunge.models.decoding import encode_pictures
from expunge.models.towers import tower_digests
from expunge.project.columns import binaries, strings
from expunge.project.scratch import let_go, scratch

SIDES = ("images", "texts")
COLUMNS = ("image", "caption")
"""Of the catalog, by side."""


class Views:
    """Galleries of one catalog; two models that share a tower share its embeddings.

    Attributes:
        catalog: the full gallery, forgotten samples included.
        encoded: how many pictures and captions no store had.
    """

    def __init__(self, catalog: Catalog, stores: Sequence[Embeddings], batch_size: int) -> None:
        self.catalog, self.batch_size = catalog, batch_size
        self.encoded = {"images": 0, "texts": 0}
        self._stores = stores
        self._seen: dict[tuple[int, str], np.ndarray] = {}

    def __call__(self, clip: Clip) -> Gallery:
        """The catalog under `clip`.

        Raises:
            ExpungeError: a picture that has to be encoded cannot be decoded.
        """
        towers = tower_digests(clip)
        images, texts = (self._side(clip, number, towers[number]) for number in (0, 1))
        return Gallery(torch.from_numpy(images), torch.from_numpy(texts), *temperature(clip))

    def _side(self, clip: Clip, side: int, tower: str) -> np.ndarray:
        if (side, tower) not in self._seen:
            vectors = scratch((len(self.catalog), clip.embed_dim), np.float16)
            known = np.zeros(len(self.catalog), bool)
            for store in self._stores:
                if store.towers[side] == tower and not known.all():
                    rows = np.array([self.catalog.row_of[name] for name in store.ids], np.int64)
                    for start, part in store.parts(side):
                        vectors[rows[start : start + len(part)]] = part
                    known[rows] = True
            self.encoded[SIDES[side]] += self._encode(clip, side, vectors, known)
            self._seen[side, tower] = vectors
        return self._seen[side, tower]

    def _encode(self, clip: Clip, side: int, vectors: np.ndarray, known: np.ndarray) -> int:
        """Fill the rows of `vectors` that are not known; shards without any are not read."""
        start = 0
        for shard in self.catalog.shards:
            here = np.flatnonzero(~known[start : start + shard.rows])
            if len(here):
                column = COLUMNS[side]
                table = self.catalog.read_shard(shard, ["sample_id", column]).take(here)
                names = strings(table["sample_id"])
                if side == 0:
                    found = encode_pictures(clip, names, binaries(table["image"]), self.batch_size)
                else:
                    found = clip.encode_texts(strings(table["caption"]), self.batch_size).numpy()
                vectors[start + here] = found
                let_go()
            start += shard.rows
        return int((~known).sum())
