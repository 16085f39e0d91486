"""What the sources of one's own data have in common."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Literal

from expunge.corpus.records import Offer
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.stores import StoredFile, listed
from expunge.project.errors import ExpungeError
from expunge.project.reading import strict_json

MAX_JSON = 4 << 30
"""Bytes of one JSON file; COCO's largest has a tenth of a gigabyte."""
WHAT = {"data": "where the data lies", "captions": "which file holds the captions"}


def own_source(params: CatalogParams, samples: Iterable[Offer]) -> Source[Offer]:
    """A source of one's own data; what it holds is known by the digest of the catalog, so it has no version."""
    return Source(params.source, "own data", params.license, params.credit, samples)


def required(params: CatalogParams, setting: Literal["data", "captions"]) -> str | tuple[str, ...]:
    """One of the settings that say where a source's files lie.

    Raises:
        ExpungeError: it is missing.
    """
    if value := getattr(params, setting):
        return value
    raise ExpungeError(f"catalog.{setting} is missing: source {params.source} has to be told {WHAT[setting]}.")


def files_of(params: CatalogParams, setting: Literal["data", "captions"]) -> list[StoredFile]:
    """The files at the addresses that a setting names, sorted.

    Raises:
        ExpungeError: the setting is missing, or nothing is there.
    """
    return listed(required(params, setting), params.storage, f"catalog.{setting}")


def one_folder(params: CatalogParams) -> str:
    """The setting `catalog.data` where it has to be one folder.

    Raises:
        ExpungeError: it is missing, or a list.
    """
    data = required(params, "data")
    if not isinstance(data, str):
        raise ExpungeError(f"catalog.data: source {params.source} takes one folder, not a list.")
    return data.rstrip("/")


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
