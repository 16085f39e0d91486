"""Requests from elsewhere: what another system hands in, checked and recorded once, whichever way it came.

A submission is one request under its sender's own name, the external reference: handed in again, it gives the same id.
Files come as JSON (one submission or a list of them) or as CSV (the columns `COLUMNS`; rows of one reference make one
request with several selectors). Either a whole file is recorded or nothing of it.
"""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import count
from pathlib import Path
from typing import Annotated, Any

from filelock import FileLock
from pydantic import Field, TypeAdapter, ValidationError, model_validator

from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.files import digest_of, write_bytes, write_json
from expunge.project.schema import Block, explain
from expunge.requests.ledger import Ledger
from expunge.requests.request import Basis, DeletionRequest, Name, Note, Selector

MAX_BYTES = 4 << 20
MAX_REQUESTS = 1000
SUFFIXES = (".csv", ".json")
VALUE_OF = {"id": "ids", "class": "class_name", "subject": "subject_id", "text": "text", "where": "sql"}
"""Kind of selector → the field that the column `value` of a CSV file holds."""
REQUIRED = ("external_reference", "basis", "kind", "value")
COLUMNS = (*REQUIRED, "top", "min_score", "requester", "due", "note")

Check = Callable[[Sequence[Selector]], object]
"""Raises `RequestRefused` where no release could serve the selectors."""


class Submission(Block):
    """One request as its sender writes it. Nothing but a keyed digest of `requester` goes further than this object."""

    external_reference: Name
    selectors: tuple[Selector, ...] = Field(min_length=1)
    basis: Basis
    requester: Name | None = Field(None, repr=False)
    requester_digest: str | None = Field(None, pattern=r"^[0-9a-f]{64}$")
    due: date | None = None
    note: Note | None = None

    @model_validator(mode="after")
    def _one_requester(self) -> Submission:
        if self.requester and self.requester_digest:
            raise ValueError("give either a requester or a requester_digest")
        return self


_FILE = TypeAdapter(Annotated[tuple[Submission, ...], Field(min_length=1, max_length=MAX_REQUESTS)])


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        file: its name.
        requests: ids of its requests; empty where it was refused.
        reason: why it was refused.
    """

    file: str
    requests: tuple[str, ...] = ()
    reason: str | None = None


def receive(
    submissions: Sequence[Submission], ledger: Ledger, check: Check, by: str | None = None
) -> list[DeletionRequest]:
    """Record submissions, all or none. One that is known by its reference is not checked again: by now a release may
    have forgotten what it selects.

    Raises:
        RequestRefused: one of them is at fault, or its reference names another request.
    """
    known = ledger.known_references(submission.external_reference for submission in submissions)
    for submission in submissions:
        if submission.external_reference not in known:
            try:
                check(submission.selectors)
            except RequestRefused as error:
                raise RequestRefused(f"{submission.external_reference}: {error}") from None
    return ledger.add_all([_asked(submission, ledger) for submission in submissions], by)


def _asked(submission: Submission, ledger: Ledger) -> dict[str, Any]:
    content = {name: getattr(submission, name) for name in Submission.model_fields if name != "requester"}
    if submission.requester:
        content["requester_digest"] = ledger.digest_requester(submission.requester)
    return content


def import_path(path: Path, ledger: Ledger, check: Check, by: str | None = None) -> Iterator[Outcome]:
    """Import a file, or all JSON and CSV files of a folder in the order of their names.

    A file that was recorded gives way to a receipt in `done/` beside it, which names no requester; one that is refused
    moves to `refused/`, with the reason. If the process dies in between, the file is still there, and the next import
    finds its references known and completes it. Hidden files are left alone, so that a sender can write under a hidden
    name and rename.

    Raises:
        ExpungeError: there is no such file or folder, or the ledger is in trouble; files not reported yet stay.
    """
    if not path.is_dir() and not _is_importable(path):
        raise ExpungeError(f"{path} is neither a folder nor a JSON or CSV file.")
    folder = path if path.is_dir() else path.parent
    with FileLock(folder / ".import.lock"):
        for file in sorted(folder.iterdir()) if path.is_dir() else [path]:
            if _is_importable(file):
                yield _import_file(file, ledger, check, by)


def _is_importable(path: Path) -> bool:
    # A link could lead out of the drop folder.
    plain = path.is_file() and not path.is_symlink()
    return plain and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _import_file(file: Path, ledger: Ledger, check: Check, by: str | None) -> Outcome:
    try:
        requests = receive(read_submissions(file), ledger, check, by)
    except RequestRefused as error:
        _refuse(file, str(error))
        return Outcome(file.name, reason=str(error))
    receipt = [request.model_dump(mode="json") for request in requests]
    # Named by its content: a second receipt for the same file is the same one.
    write_json(file.parent / "done" / f"{file.name}.{digest_of(receipt)[:8]}.json", receipt)
    file.unlink()
    return Outcome(file.name, tuple(request.request_id for request in requests))


def _refuse(file: Path, reason: str) -> None:
    folder = file.parent / "refused"
    names = (f"{file.stem}{f'-{number}' if number > 1 else ''}{file.suffix}" for number in count(1))
    target = next(folder / name for name in names if not (folder / name).exists())
    write_bytes(target.with_name(f"{target.name}.reason.txt"), f"{reason}\nNothing was recorded.\n".encode())
    os.replace(file, target)


def read_submissions(file: Path) -> tuple[Submission, ...]:
    """The submissions of a JSON or CSV file, by its name.

    Raises:
        RequestRefused: it is too large, not UTF-8, or breaks the schema; the message repeats no value.
    """
    with open(file, "rb") as stream:
        content = stream.read(MAX_BYTES + 1)
    if len(content) > MAX_BYTES:
        raise RequestRefused(f"The file is larger than {MAX_BYTES >> 20} MiB; split it.")
    try:
        text = content.decode("utf-8-sig")
        if file.suffix.lower() == ".csv":
            return _FILE.validate_python(_csv_rows(text))
        return _FILE.validate_json(text if text.lstrip().startswith("[") else f"[{text}]", strict=True)
    except UnicodeDecodeError:
        raise RequestRefused("The file is not UTF-8 text.") from None
    except csv.Error as error:
        raise RequestRefused(f"The file is not CSV: {error}.") from None
    except ValidationError as error:
        raise RequestRefused(f"Submissions: {explain(error, values=False)}") from None


def _csv_rows(text: str) -> list[dict[str, Any]]:
    """One mapping a reference, with the selectors of all its rows."""
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    header = reader.fieldnames or ()
    if not set(REQUIRED) <= set(header) <= set(COLUMNS) or len(header) != len(set(header)):
        raise RequestRefused(
            f"The first line must name the columns {', '.join(REQUIRED)}, and may name {', '.join(COLUMNS[4:])}."
        )
    requests: dict[str, dict[str, Any]] = {}
    for row in reader:
        if None in row or None in row.values():
            raise RequestRefused(f"Line {reader.line_num} has another number of cells than the first.")
        cells = {column: cell.strip() for column, cell in row.items() if cell.strip()}
        selector = _csv_selector(cells)
        request = requests.setdefault(cells.get("external_reference", ""), {**cells, "selectors": []})
        if request != {**cells, "selectors": request["selectors"]}:
            raise RequestRefused(
                f"Line {reader.line_num}: rows of one reference must agree in everything but the selector."
            )
        request["selectors"].append(selector)
    return list(requests.values())


def _csv_selector(cells: dict[str, str]) -> dict[str, Any]:
    """Take the selector out of a row's cells."""
    selector: dict[str, Any] = {name: cells.pop(name) for name in ("kind", "top", "min_score") if name in cells}
    value = cells.pop("value", None)
    kind = selector.get("kind")
    if value is not None and kind in VALUE_OF:
        selector[VALUE_OF[kind]] = [value] if kind == "id" else value
    return selector
