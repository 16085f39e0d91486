"""A folder of pictures, with a table of captions or without.

With a table (`catalog.captions`, or `metadata.csv`, `metadata.jsonl` or `captions.csv` in the folder) its rows are the
samples; several rows that name one picture are its captions. Without, each picture is a sample and a text file beside
it of the same name its caption; failing that, the name of its folder is, which is the class of a picture in any case
where no column says otherwise.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from typing import Any

from expunge.corpus.pictures import SUFFIXES
from expunge.corpus.quarantine import Rejected, Unusable
from expunge.corpus.records import USUAL, Offer, SourceRow
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._own import one_folder, own_source
from expunge.corpus.sources._rows import rows_of
from expunge.corpus.stores import PictureFolder, StoredFile, listed
from expunge.project.errors import ExpungeError

TABLES = ("metadata.csv", "metadata.jsonl", "captions.csv", "captions.jsonl", "captions.txt")
MAX_TEXT = 1 << 20


def open_source(params: CatalogParams) -> Source[Offer]:
    """The pictures of the folder `catalog.data` as a source."""
    return own_source(params, _offers(params))


def _offers(params: CatalogParams) -> Iterator[Offer]:
    gallery = PictureFolder(one_folder(params), params.storage, "catalog.data")
    if params.captions:
        tables = listed(params.captions, params.storage, "catalog.captions")
    else:
        tables = [gallery.files[name] for name in TABLES if name in gallery.files][:1]
    if tables:
        yield from _described(params, gallery, tables)
    else:
        yield from (_alone(file, gallery) for file in _pictures(gallery))


def _pictures(gallery: PictureFolder) -> list[StoredFile]:
    return [file for name, file in sorted(gallery.files.items()) if name.lower().endswith(SUFFIXES)]


def _class(file: StoredFile) -> str | None:
    return posixpath.basename(posixpath.dirname(file.name)) or None


def _alone(file: StoredFile, gallery: PictureFolder) -> Offer:
    beside = gallery.files.get(posixpath.splitext(file.name)[0] + ".txt")
    stem = posixpath.splitext(posixpath.basename(file.name))[0]
    said: Any = beside.read(MAX_TEXT) if beside else _words(_class(file) or stem)
    return SourceRow(file.name, {"class": _class(file), "caption": said}, file, file.name)


def _words(name: str) -> str:
    return " ".join(re.sub(r"[_\-.]+", " ", name).split())


def _described(params: CatalogParams, gallery: PictureFolder, tables: list[StoredFile]) -> Iterator[Offer]:
    rows: dict[str, SourceRow] = {}
    for table in tables:
        for row in rows_of(table):
            if isinstance(row, Rejected):
                yield row
                continue
            place, fields = row
            name = _picture_name(params, place, fields)
            if name is None:
                yield Rejected(place, "no_picture", "the row names none")
                continue
            try:
                file = gallery.find(name)
            except Unusable as problem:
                yield problem.at(place)
                continue
            rows[file.name] = _merged(params, rows.get(file.name), place, fields, file)
    for file in _pictures(gallery):
        yield rows.get(file.name) or Rejected(file.name, "no_caption", "the table of captions has no row for it")


def _picture_name(params: CatalogParams, place: str, fields: dict[str, Any]) -> str | None:
    named = params.map.picture
    if named is not None and named not in fields:
        raise ExpungeError(f"catalog.map.picture: {place} has no column {named!r}; it has {', '.join(fields)}.")
    found = fields.get(named) if named else next((fields[name] for name in USUAL["picture"] if fields.get(name)), None)
    return found.strip() if isinstance(found, str) and found.strip() else None


def _merged(
    params: CatalogParams, before: SourceRow | None, place: str, fields: dict[str, Any], file: StoredFile
) -> SourceRow:
    """One record a picture: a second row of it adds its captions to those of the first."""
    if before is None:
        return SourceRow(place, {"class": _class(file), **_filled(fields)}, file, file.name)
    named = params.map.caption
    columns = [named] if isinstance(named, str) else [name for name in USUAL["caption"] if fields.get(name)][:1]
    added = {
        name: [*(old if isinstance(old := before.fields.get(name), list) else [old]), fields.get(name)]
        for name in columns
    }
    return SourceRow(before.location, {**before.fields, **added}, file, file.name)


def _filled(fields: dict[str, Any]) -> dict[str, Any]:
    """An empty cell leaves the class to the folder's name."""
    return {name: value for name, value in fields.items() if name != "class" or value is not None}
