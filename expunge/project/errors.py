"""The one exception that users meet.

Anything that a person can mend (a misspelt class, a truncated shard, a full disk) is raised as
`ExpungeError` with a message of one or two sentences that says what to do. The command line and the
pipeline steps print that message to stderr and exit with status 1; every other exception is a defect
of ours and keeps its traceback.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence

SUGGEST_AMONG = 100_000
"""At most this many names are compared: each costs some microseconds."""


class ExpungeError(Exception):
    """A mistake or a missing thing that the user can mend; `str(error)` is the whole message."""


class RequestRefused(ExpungeError):
    """A deletion request itself is at fault: sent again unchanged, it would be refused again."""


def suggest(word: str, known: Sequence[str]) -> str:
    """A clause with the names that look like `word`, empty where none does."""
    close = difflib.get_close_matches(word, known[:SUGGEST_AMONG], n=3, cutoff=0.7)
    return f"; the closest are {', '.join(map(repr, close))}" if close else ""


def one_line(error: BaseException, limit: int = 200) -> str:
    """What an error of another library says, on one line of at most `limit` characters."""
    return " ".join(str(error).split())[:limit]
