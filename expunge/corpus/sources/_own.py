"""What the sources of one's own data have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from expunge.corpus.records import Offer
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.project.errors import ExpungeError
from expunge.project.reading import strict_json

MAX_JSON = 4 << 30
"""Bytes of one JSON file; COCO's largest has a tenth of a gigabyte."""


def own_source(params: CatalogParams, samples: Iterable[Offer]) -> Source[Offer]:
    """A source of one's own data; what it holds is known by the digest of the catalog, so it has no version."""
    return Source(params.source, "own data", params.license, params.credit, samples)


def data_of(params: CatalogParams) -> str | tuple[str, ...]:
    """The setting `catalog.data`.

    Raises:
        ExpungeError: it is missing.
    """
    if not params.data:
        raise ExpungeError(f"catalog.data is missing: say where the data of source {params.source} lies.")
    return params.data


def one_folder(params: CatalogParams) -> str:
    """The setting `catalog.data` where it has to be one folder.

    Raises:
        ExpungeError: it is missing, or a list.
    """
    data = data_of(params)
    if not isinstance(data, str):
        raise ExpungeError(f"catalog.data: source {params.source} takes one folder, not a list.")
    return data.rstrip("/")


def captions_of(params: CatalogParams) -> str | tuple[str, ...]:
    """The setting `catalog.captions`.

    Raises:
        ExpungeError: it is missing.
    """
    if not params.captions:
        raise ExpungeError(f"catalog.captions is missing: name the file of captions for source {params.source}.")
    return params.captions


def json_object(data: bytes, name: str) -> dict[str, Any]:
    """The object in a JSON file.

    Raises:
        ExpungeError: it is something else.
    """
    try:
        value = strict_json(data.decode("utf-8"))
    except (ValueError, UnicodeDecodeError) as error:
        raise ExpungeError(f"{name} is not valid JSON ({type(error).__name__}); download or export it again.") from None
    if not isinstance(value, dict):
        raise ExpungeError(f"{name} holds no JSON object; is it the right file?")
    return value
