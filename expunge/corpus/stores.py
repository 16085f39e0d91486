"""Files of a source: a path, a glob or an fsspec address → the files there, each with a stamp that changes with it.

A file is read within a limit. Names that come out of rows lead to files of a listing and nowhere else, so neither
`../` nor a link nor an address of somebody else's store leads out.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any
from urllib.parse import unquote

from fsspec.core import url_to_fs
from fsspec.implementations.local import LocalFileSystem

from expunge.corpus.pictures import MAX_PICTURE
from expunge.corpus.quarantine import Unusable
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of

MAGIC = "*?["
STAMPS = (
    *("ETag", "etag", "md5Hash", "md5", "content_md5"),
    *("LastModified", "last_modified", "mtime", "updated", "created"),
)
"""What file systems call that which changes with a file's content."""


@dataclass(frozen=True)
class StoredFile:
    """One file of a store; `name` is its path below the address that it was found by."""

    fs: Any
    path: str
    name: str
    size: int
    stamp: str

    def open(self) -> IO[bytes]:
        """The file as a stream of bytes."""
        return self.fs.open(self.path, "rb")

    def read(self, limit: int = MAX_PICTURE) -> bytes:
        """Its content.

        Raises:
            Unusable: it is gone, cannot be read, is larger than `limit`, or leads out of its folder.
        """
        if self.size > limit:
            raise Unusable("huge_picture", f"{self.size >> 20} MiB")
        try:
            with self.open() as stream:
                return stream.read(limit + 1)
        except FileNotFoundError:
            raise Unusable("missing_picture", "the file is not there") from None
        except OSError as error:
            raise Unusable("unreadable_picture", type(error).__name__) from None


def is_local(address: str) -> bool:
    """Whether an address is a path on this machine."""
    return "://" not in address and "::" not in address


def root_of(address: str) -> str:
    """The part of an address before its first wildcard: a folder that holds everything it can mean."""
    at = min((address.find(sign) for sign in MAGIC if sign in address), default=-1)
    return address if at < 0 else posixpath.dirname(address[:at]) or "."


def folder_of(address: str) -> str:
    """The folder that an address lies in; a folder's own address stays as it is."""
    root = root_of(address)
    return posixpath.dirname(root) or "." if posixpath.splitext(root)[1] else root


def listed(addresses: str | Sequence[str], storage: dict[str, Any], what: str) -> list[StoredFile]:
    """The files at one or more addresses, sorted by name; files whose name begins with a dot are left out.

    Args:
        what: the setting, for messages.

    Raises:
        ExpungeError: nothing is there, or the file system cannot be reached.
    """
    found: list[StoredFile] = []
    for address in [addresses] if isinstance(addresses, str) else addresses:
        files = list(_at(address, storage, what))
        if not files:
            raise ExpungeError(f"{what}: there is no file at {address!r}; name a path, a glob or an fsspec address.")
        found += files
    return found


def fingerprint(files: Sequence[StoredFile]) -> str:
    """Hex SHA-256 of names, sizes and times or tags: it changes when a file is added, removed or changed."""
    return digest_of(sorted([file.name, file.stamp] for file in files))


def _at(address: str, storage: dict[str, Any], what: str) -> Iterator[StoredFile]:
    options = {} if is_local(address) else storage
    try:
        fs, path = url_to_fs(address, **options)
        fs.invalidate_cache()  # clients of services remember what they listed, for as long as their process lives
        root = root_of(path) if any(sign in path for sign in MAGIC) and not fs.exists(path) else path
        if root != path:
            entries = fs.glob(path, detail=True)
        elif fs.isfile(path):
            entries, root = {path: fs.info(path)}, posixpath.dirname(path)
        else:
            entries = fs.find(path, detail=True)
    except (ImportError, ValueError) as error:
        raise ExpungeError(f"{what}: {address!r} cannot be opened ({error}).") from None
    except FileNotFoundError:
        return
    except OSError as error:
        raise ExpungeError(f"{what}: {address!r} cannot be listed ({error.strerror or error}).") from None
    for path, info in sorted(entries.items()):
        name = posixpath.relpath(path, root) if root else path
        if info["type"] == "file" and not any(part.startswith(".") for part in name.split("/")):
            if isinstance(fs, LocalFileSystem) and not Path(path).resolve().is_relative_to(Path(root).resolve()):
                continue  # a link that leads out
            tags = {key: str(info[key]) for key in STAMPS if info.get(key) is not None}
            yield StoredFile(fs, path, name, int(info.get("size") or 0), digest_of([info.get("size"), tags]))


class PictureFolder:
    """The pictures below an address, found by the names that rows give them."""

    def __init__(self, address: str, storage: dict[str, Any], what: str) -> None:
        self.address = address.rstrip("/")
        self.files = {file.name: file for file in listed(address, storage, what)}
        self._by_base: dict[str, list[StoredFile]] = {}
        for file in self.files.values():
            self._by_base.setdefault(posixpath.basename(file.name), []).append(file)

    def find(self, name: str) -> StoredFile:
        """The file that a row calls `name`: a path below the address, the full address, or a name found once only.

        Raises:
            Unusable: there is none, or the name leads elsewhere.
        """
        short = name.removeprefix(self.address + "/")
        if "://" in short:
            raise Unusable("path_escape", "an address outside of the pictures' folder")
        if short.startswith("/") or ".." in short.replace("\\", "/").split("/"):
            raise Unusable("path_escape", "a path that leads out of the pictures' folder")
        short = posixpath.normpath(short)
        for candidate in (short, unquote(short)):
            if candidate in self.files:
                return self.files[candidate]
        alike = self._by_base.get(posixpath.basename(short), []) if "/" not in short else []
        if len(alike) == 1:
            return alike[0]
        raise Unusable("missing_picture", "no such file, or a link that leads elsewhere")


def opened_text(file: StoredFile) -> IO[str]:
    """A text file whose bytes that are not UTF-8 come back as surrogates, to be found cell by cell."""
    return io.TextIOWrapper(file.open(), encoding="utf-8-sig", errors="surrogateescape", newline="")
