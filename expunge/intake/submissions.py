"""Requests from elsewhere: what another system hands in, checked and recorded once, whichever way it came.

A submission is one request under its sender's own name, the external reference: handed in again, it gives the same id.
Files come as JSON (one submission or a list of them) or as CSV (the columns `COLUMNS`; rows of one reference make one
request with several selectors). Either a whole file is recorded or nothing of it.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from datetime import date
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError, field_validator, model_validator

from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.reading import read_plain, strict_json
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

    @field_validator("selectors")
    @classmethod
    def _nothing_found_elsewhere(cls, selectors: tuple[Selector, ...]) -> tuple[Selector, ...]:
        # What an image selector found is recorded with it, so from outside it could name any samples as "alike".
        if any(selector.kind == "image" for selector in selectors):
            raise ValueError("an example picture is given at the command line only (expunge request add --image)")
        return selectors

    @model_validator(mode="after")
    def _one_requester(self) -> Submission:
        if self.requester and self.requester_digest:
            raise ValueError("give either a requester or a requester_digest")
        return self


_FILE = TypeAdapter(Annotated[tuple[Submission, ...], Field(min_length=1, max_length=MAX_REQUESTS)])


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


def read_submissions(file: Path) -> tuple[Submission, ...]:
    """The submissions of a JSON or CSV file, by its name.

    Raises:
        RequestRefused: it is too large, not UTF-8, means two things, or breaks the schema; the message repeats no
            value.
        OSError: it cannot be read.
    """
    try:
        content = read_plain(file, MAX_BYTES, follow=False)
    except ExpungeError:
        raise RequestRefused(f"The file is larger than {MAX_BYTES >> 20} MiB; split it.") from None
    try:
        text = content.decode("utf-8-sig")
        if file.suffix.lower() == ".csv":
            return _FILE.validate_python(_csv_rows(text))
        whole = text if text.lstrip().startswith("[") else f"[{text}]"
        strict_json(whole)
        return _FILE.validate_json(whole, strict=True)
    except UnicodeDecodeError:
        raise RequestRefused("The file is not UTF-8 text.") from None
    except csv.Error as error:
        raise RequestRefused(f"The file is not CSV: {error}.") from None
    except ValidationError as error:
        raise RequestRefused(f"Submissions: {explain(error, values=False)}") from None
    except json.JSONDecodeError as error:
        raise RequestRefused(f"The file is not JSON: {error.msg} at line {error.lineno}.") from None
    except ValueError as error:
        raise RequestRefused(f"The file is not JSON that can be read: {error}.") from None


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
