"""What the intake keeps of files that were handed in: receipts, and files that it refused.

A receipt repeats the requests, selectors included, and a refused file is what its sender wrote. Once what they name is
forgotten, a receipt keeps ids and digests only, and a refused file goes, leaving a note in its place.
"""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

from expunge.project.files import canonical_json, digest_of, write_bytes, write_json
from expunge.purge.scan import Searcher

KEPT = ("request_id", "external_reference", "basis", "received_at", "due")
NOTE = "It named samples that have been forgotten since, so `expunge purge` removed it. Nothing was recorded of it.\n"


def clean(drop_folder: Path, searcher: Searcher) -> None:
    """Shorten receipts and remove refused files that hold a trace; doing it again changes nothing."""
    for path in sorted((drop_folder / "done").glob("*.json")):
        _shorten(path, searcher)
    for path in sorted((drop_folder / "refused").glob("*")):
        if path.is_file() and _holds(path.read_bytes(), searcher):
            target = path if path.name.endswith(".reason.txt") else path.with_name(f"{path.name}.reason.txt")
            write_bytes(target, NOTE.encode())
            if target != path:
                path.unlink()


def _shorten(path: Path, searcher: Searcher) -> None:
    try:
        receipt = json.loads(path.read_bytes())
    except ValueError:
        return  # the search names it, and `expunge repair` sets it aside
    if not isinstance(receipt, list) or not _holds(path.read_bytes(), searcher):
        return
    write_json(path, [_short(entry) if _holds(canonical_json(entry), searcher) else entry for entry in receipt])


def _short(entry: dict[str, Any]) -> dict[str, Any]:
    return {key: entry[key] for key in KEPT if key in entry} | {"forgotten": True, "digest": digest_of(entry)}


def _holds(content: bytes, searcher: Searcher) -> bool:
    return bool(searcher.search(io.BytesIO(content)))
