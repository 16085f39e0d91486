"""Small copies of a catalog's pictures, for pages."""

from __future__ import annotations

import io
from collections.abc import Set

from expunge.corpus.catalog import Catalog
from expunge.corpus.pictures import decode_image


def thumbnails(catalog: Catalog, ids: Set[str], size: int) -> dict[str, bytes]:
    """Sample id → a PNG of at most `size` × `size` pixels.

    Raises:
        ExpungeError: a picture cannot be decoded.
    """
    found = {}
    for name, data in catalog.pictures(ids):
        picture = decode_image(data, name)
        picture.thumbnail((size, size))
        stream = io.BytesIO()
        picture.save(stream, "PNG", optimize=True)
        found[name] = stream.getvalue()
    return found
