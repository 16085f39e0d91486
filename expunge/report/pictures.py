"""Which retained pictures a search with forgotten captions finds, before and after. Pictures are of what stays."""

from __future__ import annotations

import base64
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass

from expunge.corpus.catalog import Catalog
from expunge.models.thumbnails import thumbnails
from expunge.project.columns import read_table
from expunge.project.paths import Paths

MAX_REQUESTS = 12
SIZE = 56


@dataclass(frozen=True)
class FoundPicture:
    """A retained picture: as a data URI, and the share of the request's captions that find it among the first few."""

    picture: str
    share: float


@dataclass(frozen=True)
class FoundPictures:
    """What one request's forgotten captions find, by model."""

    request_id: str
    rows: Mapping[str, Sequence[FoundPicture]]


def found_pictures(paths: Paths, release: str, forgotten: Set[str]) -> list[FoundPictures]:
    """For each of the first requests of `release` the retained pictures that its captions find.

    Args:
        forgotten: sample ids that must not be shown, whatever the file says.
    """
    rows = [row for row in read_table(paths.release(release).nearest).to_pylist() if row["sample_id"] not in forgotten]
    requests = sorted({row["request"] for row in rows})[:MAX_REQUESTS]
    shown = {row["sample_id"] for row in rows if row["request"] in requests}
    pictures = {
        name: "data:image/png;base64," + base64.b64encode(png).decode()
        for name, png in thumbnails(Catalog(paths.catalog), shown, SIZE).items()
    }
    models = list(dict.fromkeys(row["model"] for row in rows))
    return [
        FoundPictures(
            request,
            {
                model: [
                    FoundPicture(pictures[row["sample_id"]], row["share"])
                    for row in rows
                    if row["request"] == request and row["model"] == model
                ]
                for model in models
            },
        )
        for request in requests
    ]
