"""From what a sender calls a person to the catalog's subjects, with nothing but keyed digests in between.

A sender names somebody by an identity: a type, a format and a value. It leads to a subject of the catalog in two ways:
the value *is* the subject's id (type `serve.subject_id_is`), or the project was told once by `expunge subjects FILE`
which subject an identity belongs to. The file that this writes holds keyed digests on both sides.
"""

from __future__ import annotations

import csv
import hashlib
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import get_args

from expunge.corpus.catalog import Catalog
from expunge.intake.settings import Format
from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.files import canonical_json, read_json, write_bytes
from expunge.project.paths import Paths
from expunge.requests.keys import keyed_digest, subject_digests

COLUMNS = ("subject_id", "identity_type", "identity_value")
FORMATS: tuple[Format, ...] = get_args(Format)
MAX_VALUE = 500


@dataclass(frozen=True)
class Identity:
    """How a sender names a person. Its representation does not show the value."""

    type: str
    format: Format
    value: str

    def __repr__(self) -> str:
        return f"Identity(type={self.type!r}, format={self.format!r})"

    @property
    def normal(self) -> str:
        """The value as it is compared: addresses and hashes in lower case, nothing around it."""
        folded = self.type == "email" or self.format != "raw"
        return self.value.strip().lower() if folded else self.value.strip()

    def encoded(self, format: Format) -> str:
        """The value of a raw identity in another format, as the protocols hash it."""
        if format == "raw":
            return self.normal
        return hashlib.new(format, self.normal.encode(), usedforsecurity=False).hexdigest()


def parse_identity(type: object, format: object, value: object, accepted: Mapping[str, tuple[Format, ...]]) -> Identity:
    """An identity of a type and a format that this project accepts.

    Raises:
        UnknownType: the type is another.
        UnknownFormat: the format is another, or the value does not have it.
    """
    if not isinstance(type, str) or type not in accepted:
        raise UnknownType(f"supported types of identity are {', '.join(sorted(accepted))}")
    known = next((one for one in FORMATS if one == format), None)
    if known is None or known not in accepted[type]:
        raise UnknownFormat(f"supported formats of {type} are {', '.join(accepted[type])}")
    if not isinstance(value, str) or not value.strip() or len(value) > MAX_VALUE:
        raise UnknownFormat(f"the value of an identity has 1 to {MAX_VALUE} characters")
    if known != "raw":
        length = hashlib.new(known, usedforsecurity=False).digest_size * 2
        if len(value.strip()) != length or set(value.strip().lower()) - set("0123456789abcdef"):
            raise UnknownFormat(f"a {known} value has {length} hexadecimal digits")
    return Identity(type, known, value)


class UnknownType(RequestRefused):
    """A type of identity that this project does not accept."""


class UnknownFormat(RequestRefused):
    """A format that this project does not accept, or a value that does not have its format."""


def subjects_named(paths: Paths, catalog: Catalog, identities: Iterable[Identity], subject_id_is: str) -> set[str]:
    """Keyed digests of the catalog's subjects whom one of `identities` names.

    Raises:
        ExpungeError: the key or the list of known identities cannot be read.
    """
    digest = subject_digests(paths.root)
    known = _known(paths)
    found: set[str] = set()
    for identity in identities:
        found.update(known.get(_digest(paths, identity.type, identity.format, identity.normal), ()))
        if identity.type == subject_id_is:
            wanted = identity.normal
            for subject in catalog.metadata["subject_id"].unique().to_pylist():
                if subject and Identity(identity.type, "raw", subject).encoded(identity.format) == wanted:
                    found.add(digest(subject))
    return found


def samples_of(catalog: Catalog, digests: set[str], digest: Callable[[str], str]) -> list[str]:
    """Ids of the samples of these subjects."""
    column = catalog.metadata["subject_id"]
    named = {one for one in column.unique().to_pylist() if one is not None and digest(one) in digests}
    return [name for name, subject in zip(catalog.ids, column.to_pylist(), strict=True) if subject in named]


def learn(paths: Paths, file: Path) -> int:
    """Note which subject each identity of a CSV file belongs to; returns how many identities are known now.

    The file's columns are `COLUMNS`, its values raw. It replaces what was known before. Keep it out of the project.

    Raises:
        ExpungeError: the file cannot be read, or a row is not complete.
    """
    digest = subject_digests(paths.root)
    known: dict[str, list[str]] = {}
    count = 0
    for row in _rows(file):
        identity = Identity(row["identity_type"].strip(), "raw", row["identity_value"])
        count += 1
        for format in FORMATS:
            subjects = known.setdefault(_digest(paths, identity.type, format, identity.encoded(format)), [])
            if (subject := digest(row["subject_id"].strip())) not in subjects:
                subjects.append(subject)
    write_bytes(paths.subjects, canonical_json(known) + b"\n", private=True)
    return count


def _rows(file: Path) -> Iterator[dict[str, str]]:
    try:
        with open(file, encoding="utf-8-sig", newline="") as stream:
            reader = csv.DictReader(stream, strict=True)
            if tuple(reader.fieldnames or ()) != COLUMNS:
                raise ExpungeError(f"The first line of {file} must name the columns {','.join(COLUMNS)}.")
            for row in reader:
                if None in row or not all((cell or "").strip() for cell in row.values()):
                    raise ExpungeError(f"Line {reader.line_num} of {file} needs a value in each of three columns.")
                yield row
    except (csv.Error, UnicodeDecodeError):
        raise ExpungeError(f"{file} is not a CSV file in UTF-8.") from None


def _known(paths: Paths) -> dict[str, list[str]]:
    return read_json(paths.subjects) if paths.subjects.is_file() else {}


def _digest(paths: Paths, type: str, format: str, value: str) -> str:
    return keyed_digest(paths.root, "identity", [type, format, value])
