"""The JSON schemas of the files that other tools may rely on, generated from the models that write and read them.

`python -m expunge.proof.schemas docs/schemas` writes them; a test holds that those in the repository are current.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter

from expunge.evaluation.metrics import Metrics
from expunge.lineage.account import Account
from expunge.project.files import json_bytes, write_bytes
from expunge.proof.predicate import ReleaseStatement, RequestStatement
from expunge.releases.registration import Registration

DOCUMENTS: dict[str, Any] = {
    "metrics": Metrics,
    "registration": Registration,
    "trace": Account,
    "certificate": ReleaseStatement,
    "request-certificate": RequestStatement,
}
"""Name of the schema → model: `metrics.json`, `registration.json`, `expunge trace --json`, and what is signed."""


def schemas() -> dict[str, bytes]:
    """File name → content of each schema (JSON Schema, draft 2020-12)."""
    return {
        f"{name}.schema.json": json_bytes(TypeAdapter(model).json_schema(by_alias=True))
        for name, model in DOCUMENTS.items()
    }


def write_schemas(folder: Path) -> None:
    """Write every schema to `folder`.

    Raises:
        ExpungeError: a file cannot be written.
    """
    for name, content in schemas().items():
        write_bytes(folder / name, content)


if __name__ == "__main__":
    write_schemas(Path(sys.argv[1] if len(sys.argv) > 1 else "docs/schemas"))
