"""What the proof of a purge says, in the words of the certificate."""

from __future__ import annotations

from typing import Any

from expunge.lineage.dvc.locks import relative
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file
from expunge.project.paths import Paths

NOT_PURGED = {"state": "not purged yet"}


def purge_state(paths: Paths, name: str) -> dict[str, Any]:
    """What the purge of `name` searched and found, by counts, and what it could not reach; or that there was none.

    Raises:
        ExpungeError: its proof is damaged.
    """
    path = paths.release(name).purge
    if not path.is_file():
        return NOT_PURGED
    proof = read_json(path)
    try:
        return {
            "state": "purged",
            "report": relative(paths, path),
            "sha256": sha256_file(path),
            "clean": proof["clean"],
            "files": proof["scan"]["files"],
            "findings": len(proof["scan"]["findings"]),
            "unread": len(proof["scan"]["unread"]),
            "out_of_reach": proof["out_of_reach"],
        }
    except (KeyError, TypeError):
        raise ExpungeError(f"{path} is not the proof of a purge; `expunge purge {name}` writes it.") from None
