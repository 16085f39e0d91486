"""The questions of `expunge init` about one's own data, and the answers as params.yaml."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

import typer
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


def asked(source: str | None, data: str | None, captions: str | None, interactive: bool) -> dict[str, str | None]:
    """What was not said on the command line, asked for on a terminal."""
    if source is None:
        known = ", ".join(known_sources())
        source = typer.prompt(f"Where do samples come from? ({known})", default=DEMO) if interactive else DEMO
    if interactive and source in known_sources() and source != DEMO:
        data = data or typer.prompt("Where does the data lie? (a path, a glob or an address such as s3://…)")
        if captions is None and source in CAPTIONED:
            captions = typer.prompt("Which file holds the captions?")
        if captions is None and source == "folder":
            found = typer.prompt("Which table holds the captions? (empty: none, or metadata.csv there)", default="")
            captions = found or None
    return {"source": source, "data": data, "captions": captions}


def own_catalog(root: Path, said: dict[str, str | None], mapping: str | None) -> CatalogParams:
    """The block `catalog` of a new project in `root`.

    Args:
        mapping: fields and columns, such as `caption=title,subject=user_id`.

    Raises:
        ExpungeError: the source is unknown, data is missing, not there, or holds the project, or the mapping is none.
    """
    source = said["source"]
    if source not in (known := known_sources()):
        raise ExpungeError(f"--source: unknown source {source!r}; known are {', '.join(known)}.")
    if source != DEMO and is_own(str(source)) and not said["data"]:
        raise ExpungeError(f"--data is missing: say where the data of source {source} lies.")
    if source in CAPTIONED and not said["captions"]:
        raise ExpungeError(f"--captions is missing: name the file of captions for source {source}.")
    places = {key: from_project(root, value, key) for key in ("data", "captions") if (value := said[key])}
    try:
        return CatalogParams.model_validate({"source": source, **places, "map": _columns(mapping)})
    except ValidationError as error:
        raise ExpungeError(f"--map: {explain(error)}") from None


def own_settings(text: str, catalog: CatalogParams) -> str:
    """params.yaml of the library's repository → that of a project: its own source, and no ledger to start from."""
    said = catalog.model_dump(mode="json", by_alias=True, exclude_defaults=True, exclude_none=True)
    lines = [
        f"  {key}: {json.dumps(said[key], ensure_ascii=False)}" for key in ("data", "captions", "map") if key in said
    ]
    text = re.sub(r"(?m)^  source: \S+", lambda _: "\n".join([f"  source: {catalog.source}", *lines]), text, count=1)
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
