"""JSON files that have a schema: written and read through their model, and nothing else passes.

A model's content is what was set: a key that a file leaves out stays out, and one that says `null` stays. So reading a
file and writing it again gives the same bytes, and digests over its content do not depend on who computes them.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, write_json
from expunge.project.schema import Model, explain


def content_of(document: BaseModel) -> dict[str, Any]:
    """The JSON values of a document, with the keys that were set and no others."""
    return document.model_dump(mode="json", by_alias=True, exclude_unset=True)


def write_document(path: Path, document: BaseModel) -> None:
    """Write a document as JSON, atomically.

    Raises:
        ExpungeError: the file cannot be written.
    """
    write_json(path, content_of(document))


def parsed(model: type[Model], content: Any, where: Path | str) -> Model:
    """`content`, which was read from `where`, as a `model`.

    Raises:
        ExpungeError: it breaks the schema; the message names each key at fault, and repeats no value.
    """
    try:
        return model.model_validate(content)
    except ValidationError as error:
        reason = explain(error, values=False)
        raise ExpungeError(f"{where} is damaged, or another version of Expunge wrote it: {reason}") from None


def read_document(model: type[Model], path: Path) -> Model:
    """Read a JSON file into `model`.

    Raises:
        ExpungeError: the file is missing, is not JSON, or breaks the schema.
    """
    return parsed(model, read_json(path), path)
