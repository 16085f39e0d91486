"""The head of the suppression list: its length and a keyed digest of its bytes, kept apart from it.

Without it the list could be emptied or deleted and nothing would say so until a forgotten sample is back.
"""

from __future__ import annotations

import hmac
from collections.abc import Iterable
from typing import Any

from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_bytes, write_json
from expunge.project.paths import Paths
from expunge.requests.keys import keyed_digest

PURPOSE, LIST = "suppression head", "suppression list"


class SuppressionBroken(ExpungeError):
    """The list is not the one that was written last."""


def expect(paths: Paths, count: int, contents: Iterable[bytes]) -> None:
    """Write the head: the list has `count` lines and one of `contents`."""
    digests = sorted({_digest(paths, content) for content in contents})
    head = {"count": count, "digests": digests}
    write_json(paths.suppression_head, {"head": head, "mac": keyed_digest(paths.root, PURPOSE, head)})


def present(paths: Paths) -> list[bytes]:
    """The content of the list, as a list of one; empty where there is none."""
    return [paths.suppression.read_bytes()] if paths.suppression.is_file() else []


def check(paths: Paths) -> None:
    """Compare the list with its head; neither may be there without the other.

    Raises:
        SuppressionBroken: the list or its head is gone, or was changed.
    """
    found, head = present(paths), read(paths)
    if head is None and not found:
        return
    if head is None:
        raise _broken(paths, f"its head {paths.suppression_head} is gone")
    if not found:
        raise _broken(paths, f"it is gone, and held {head['count']} samples")
    if _digest(paths, found[0]) not in head["digests"]:
        raise _broken(paths, f"it was changed since {head['count']} samples were on it")


def read(paths: Paths) -> dict[str, Any] | None:
    """The content of the head, None where there is none.

    Raises:
        SuppressionBroken: it was changed, or made under another key.
    """
    if not paths.suppression_head.is_file():
        return None
    try:
        stored = read_json(paths.suppression_head)
        head = stored["head"]
        if hmac.compare_digest(stored["mac"], keyed_digest(paths.root, PURPOSE, head)):
            return head
    except (KeyError, TypeError, ExpungeError):
        pass
    raise _broken(paths, f"its head {paths.suppression_head} was changed, or made under another key")


def _digest(paths: Paths, content: bytes) -> str:
    return keyed_digest(paths.root, LIST, sha256_bytes(content))


def _broken(paths: Paths, reason: str) -> SuppressionBroken:
    return SuppressionBroken(
        f"The list of what must not come back, {paths.suppression}, cannot be trusted: {reason}. Restore it with "
        "`expunge restore FILE`, or let `expunge repair` make it again."
    )
