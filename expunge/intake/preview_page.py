"""A page with pictures for the reviewer of one request: what it selects, and beside that what looks or reads alike.

The only place outside the catalog where forgotten pictures can be seen, so it is one file in a folder of this machine
that neither git nor DVC looks at, readable by its owner alone, and it goes when the request is decided for good.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Sequence
from pathlib import Path

from expunge.corpus.catalog import Catalog
from expunge.intake.preview import Preview
from expunge.project.files import write_bytes
from expunge.project.pages import environment
from expunge.project.paths import Paths

THUMBNAIL = 96
MAX_SELECTED = 200
"""Selected samples that are shown; near-duplicates all are."""


def write_page(paths: Paths, catalog: Catalog, found: Preview, selected: Sequence[str]) -> Path:
    """Write the page of a preview and return its path."""
    from expunge.models.thumbnails import thumbnails

    shown = list(selected)[:MAX_SELECTED]
    beside = [one for finding in (found.near_duplicates, found.captions, found.concepts) for one in finding.shown]
    ids = {*shown, *(one.sample_id for one in beside), *(one.resembles for one in beside)}
    pictures = {
        name: "data:image/png;base64," + base64.b64encode(png).decode()
        for name, png in thumbnails(catalog, ids, THUMBNAIL).items()
    }
    path = paths.preview_page(found.request_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.parent.chmod(0o700)
    page = environment().get_template("preview.html.j2").render(found=found, shown=shown, pictures=pictures)
    write_bytes(path, page.encode(), private=True)
    return path


def discard_pages(paths: Paths, request_ids: Iterable[str]) -> None:
    """Remove the pages of requests that are decided."""
    for request_id in request_ids:
        paths.preview_page(request_id).unlink(missing_ok=True)
