"""What `expunge init` is told of one's own data: the block `catalog`."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import ValidationError

from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import is_own, known_sources
from expunge.corpus.stores import is_local, root_of
from expunge.project.errors import ExpungeError
from expunge.project.schema import explain

DEMO = "openmoji"
"""The source that brings its data along."""
CAPTIONED = ("coco", "flickr30k")
"""Sources whose captions lie in a file of their own."""


def own_catalog(root: Path, source: str, data: str | None, captions: str | None, mapping: str | None) -> CatalogParams:
    """The block `catalog` of a new project in `root`.

    Args:
        mapping: fields and columns, such as `caption=title,subject=user_id`.

    Raises:
        ExpungeError: the source is unknown, data is missing, not there, or holds the project, or the mapping is none.
    """
    if known_source(source) != DEMO and is_own(source) and not data:
        raise ExpungeError(f"--data is missing: say where the data of source {source} lies.")
    if source in CAPTIONED and not captions:
        raise ExpungeError(f"--captions is missing: name the file of captions for source {source}.")
    said = {"data": data, "captions": captions}
    places = {key: from_project(root, value, key) for key, value in said.items() if value}
    try:
        return CatalogParams.model_validate({"source": source, **places, "map": _columns(mapping)})
    except ValidationError as error:
        raise ExpungeError(f"--map: {explain(error)}") from None


def known_source(name: str) -> str:
    """The name of a source.

    Raises:
        ExpungeError: there is no such source.
    """
    if name not in (known := known_sources()):
        raise ExpungeError(f"--source: unknown source {name!r}; known are {', '.join(known)}.")
    return name


def _columns(mapping: str | None) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for pair in mapping.split(",") if mapping else ():
        field, equals, column = (part.strip() for part in pair.partition("="))
        if not (field and equals and column):
            raise ExpungeError(f"--map: {pair!r} is no FIELD=COLUMN; write caption=title,subject=user_id.")
        if field in found:  # several columns of captions
            found[field] = [*(found[field] if isinstance(found[field], list) else [found[field]]), column]
        else:
            found[field] = column
    return found


def from_project(root: Path, address: str, setting: str) -> str:
    """An address as params.yaml says it: relative to the project where it lies in it, else absolute."""
    if not is_local(address):
        return address
    place, project = Path(address).absolute(), root.resolve()
    held = Path(root_of(str(place)))
    if not held.exists():
        raise ExpungeError(f"--{setting}: {held} is not there.")
    if project.is_relative_to(held.resolve()):
        raise ExpungeError(f"--{setting}: {held} holds the project itself; put the data into a folder of its own.")
    if held.resolve().is_relative_to(project):
        return (held.resolve().relative_to(project) / place.relative_to(held)).as_posix()
    return place.as_posix()
