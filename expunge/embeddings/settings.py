"""Settings of embeddings and indexes."""

from __future__ import annotations

from expunge.project.schema import Block, Count


class EmbedParams(Block):
    """Encoding of the catalog."""

    batch_size: Count = 256


class IndexParams(Block):
    """`auto` is exact up to 100,000 vectors, with inverted lists beyond; anything else is a factory string of FAISS.

    Whatever is chosen is rebuilt from the retained vectors, and its recall against exact search is kept beside it.
    """

    factory: str = "auto"
