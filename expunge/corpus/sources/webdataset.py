"""WebDataset: tar files whose members of one name are one sample; also what img2dataset leaves.

Members are read as they stream by, each within a limit, and nothing is unpacked to disk or unpickled. The names follow
https://github.com/webdataset/webdataset: the key is the path up to the first dot of the file's name.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from typing import Any

from expunge.corpus.pictures import MAX_PICTURE, SUFFIXES
from expunge.corpus.quarantine import Rejected
from expunge.corpus.records import Offer, SourceRow
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._own import files_of, own_source, required
from expunge.corpus.stores import StoredFile
from expunge.project.errors import ExpungeError
from expunge.project.reading import strict_json

ARCHIVES = (".tar", ".tar.gz", ".tgz", ".tar.bz2", ".tar.xz")
NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]*)")
"""Key and extension of a member, as webdataset's `base_plus_ext` takes them apart."""
PICTURES = tuple(suffix[1:] for suffix in SUFFIXES)
MAX_TEXT = 4 << 20
RATIO, FREE = 200, 256 << 20
"""An archive that unpacks to more than this many times its size, and to more than these bytes, is a bomb."""


def open_source(params: CatalogParams) -> Source[Offer]:
    """The samples in the tar files at `catalog.data` as a source."""
    required(params, "data")
    return own_source(params, _offers(params))


def _offers(params: CatalogParams) -> Iterator[Offer]:
    files = [file for file in files_of(params, "data") if file.name.endswith(ARCHIVES)]
    if not files:
        raise ExpungeError(f"catalog.data: no tar file at {params.data!r}.")
    for file in files:
        yield from _samples(file)


def _samples(file: StoredFile) -> Iterator[Offer]:
    key, members, oversized = "", dict[str, bytes](), False
    try:
        with file.open() as stream, tarfile.open(fileobj=stream, mode="r|*") as archive:
            for member in archive:
                archive.members = []  # type: ignore[attr-defined]  # else tarfile keeps every header
                if member.offset_data + member.size > max(FREE, RATIO * file.size):
                    yield Rejected(f"{file.name}/{member.name}", "archive_bomb", "unpacks to far more than it has")
                    return
                found = NAME.fullmatch(member.name)
                if not member.isreg() or found is None:
                    if member.issym() or member.islnk() or member.isdev():
                        yield Rejected(f"{file.name}/{member.name}", "path_escape", "a link or device in an archive")
                    continue
                if found[1] != key:
                    yield from _record(file, key, members, oversized)
                    key, members, oversized = found[1], {}, False
                extension = found[2].lower()
                if member.size > (MAX_PICTURE if extension in PICTURES else MAX_TEXT):
                    oversized = True
                elif (content := archive.extractfile(member)) is not None and extension in (*PICTURES, *READ):
                    members.setdefault(extension, content.read())
            # tarfile takes the end of a file between two members for the end of the archive.
            if file.name.endswith(".tar") and file.size < archive.offset + tarfile.BLOCKSIZE:
                raise tarfile.ReadError("no end of the archive")
    except (tarfile.TarError, OSError, EOFError, ValueError) as error:
        yield from _record(file, key, members, oversized)
        yield Rejected(file.name, "broken_archive", f"{type(error).__name__}; samples after this place are lost")
        return
    yield from _record(file, key, members, oversized)


READ = ("json", "txt", "caption", "text", "cls", "id")
"""Extensions that are read beside pictures; others, pickles among them, are passed over."""


def _record(file: StoredFile, key: str, members: dict[str, bytes], oversized: bool) -> Iterator[Offer]:
    if not key:
        return
    place = f"{file.name}/{key}"
    if oversized:
        yield Rejected(place, "huge_picture", "a member is over the limit")
        return
    fields: dict[str, Any] = {}
    if "json" in members:
        try:
            told = strict_json(members["json"].decode("utf-8", "surrogateescape"))
        except ValueError:
            yield Rejected(place, "bad_row", "its JSON cannot be read")
            return
        fields |= told if isinstance(told, dict) else {}
    for extension in READ[1:]:
        if extension in members:
            fields[extension] = members[extension]
    picture = next((members[extension] for extension in PICTURES if extension in members), None)
    if picture is None:
        yield Rejected(place, "no_picture", f"no member with one of {', '.join(PICTURES)}")
        return
    yield SourceRow(place, fields, picture, key)
