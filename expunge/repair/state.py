"""What a blocking state is: a problem in one sentence, what would be done about it, and the command that ends it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from expunge.project.paths import Paths
from expunge.settings import Params

REPAIR = "expunge repair"


@dataclass(frozen=True)
class Site:
    """What the detectors look at.

    Attributes:
        proves: whether they also verify the releases that carry an alias, every byte of their files. Where a person
            waits for an answer they go by what is recorded; the daily audit and `expunge repair` prove.
    """

    paths: Paths
    params: Params
    proves: bool = True


@dataclass(frozen=True)
class BlockingState:
    """One thing that must not stay.

    Attributes:
        subject: what it is about: a release, the ledger, a file.
        problem: what is wrong, as a sentence.
        remedy: what `expunge repair` would do, or the person has to.
        command: what ends the state.
        mend: ends it in the name of a person and says what was done; None where another command does.
    """

    subject: str
    problem: str
    remedy: str
    command: str = REPAIR
    mend: Callable[[str], str] | None = None
    severity: Literal["failure", "warning"] = "failure"
