"""What `expunge init` is told of one's own data, as params.yaml."""

from __future__ import annotations

import json
import re
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
EMOJI_WORDS = re.compile(r"(?m)^ +- .*\bemoji\b.*\n")


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


def own_settings(text: str, catalog: CatalogParams) -> str:
    """params.yaml of the library's repository → that of a project: its own source, and no ledger to start from."""
    said = catalog.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    lines = [
        f"  {key}: {json.dumps(said[key], ensure_ascii=False)}" for key in ("data", "captions", "map") if key in said
    ]
    text = re.sub(r"(?m)^  source: \S+", lambda _: "\n".join([f"  source: {catalog.source}", *lines]), text, count=1)
    text = re.sub(r"(?m)^  image_size: \d+", f"  image_size: {catalog.image_size}", text, count=1)
    if catalog.source != DEMO:
        text = EMOJI_WORDS.sub("", text)
    return re.sub(
        r"(?m)^  seed: .*$", "  seed: null            # a file of events that an empty ledger starts from", text
    )


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
