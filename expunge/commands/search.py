"""`expunge search`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from expunge.commands.common import JsonOption
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths


def search(
    text: Annotated[str | None, typer.Option(help="Find pictures for this text.")] = None,
    id: Annotated[str | None, typer.Option("--id", help="Find pictures like this sample's.")] = None,
    image: Annotated[Path | None, typer.Option(help="Find pictures like this file's.")] = None,
    release: Annotated[str | None, typer.Option(help="The live release by default.")] = None,
    count: Annotated[int, typer.Option("-k", min=1, max=1000, help="How many.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Search the image index of a release by text, image or id."""
    from expunge.embeddings.search import search_images
    from expunge.releases.chain import chain, live_release

    paths = Paths()
    if sum(value is not None for value in (text, id, image)) != 1:
        raise typer.BadParameter("give exactly one of --text, --image and --id")
    name = release or live_release(paths)
    if name not in chain(paths):
        raise ExpungeError(f"There is no release {name}; known releases: {', '.join(chain(paths))}.")
    hits = search_images(paths, name, count, text=text, sample_id=id, image=image)
    if as_json:
        typer.echo(json.dumps({"release": name, "hits": [hit._asdict() for hit in hits]}, indent=2))
        return
    table = Table("score", "sample", "class", "caption", title=f"Release {name}")
    for hit in hits:
        table.add_row(f"{hit.score:.3f}", hit.sample_id, hit.class_name, hit.caption)
    Console().print(table)
