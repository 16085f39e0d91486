"""Settings of embeddings and indexes."""

from __future__ import annotations

from expunge.project.schema import Block, Count


class EmbedParams(Block):
    """Encoding of the catalog."""

    batch_size: Count = 256


class IndexParams(Block):
    """`Flat` is exact, which an audit of deletions needs; other factory strings are for serving."""

    factory: str = "Flat"
