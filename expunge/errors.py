"""The one exception that users meet.

Anything that a person can mend (a misspelt class, a truncated shard, a full disk) is raised as
`ExpungeError` with a message of one or two sentences that says what to do. The command line and the
pipeline steps print that message to stderr and exit with status 1; every other exception is a defect
of ours and keeps its traceback.
"""

from __future__ import annotations


class ExpungeError(Exception):
    """A mistake or a missing thing that the user can mend; `str(error)` is the whole message."""
