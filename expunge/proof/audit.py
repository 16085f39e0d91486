"""The daily audit: what has gone wrong with a promise, or is about to.

Each check is a function of an `Audited` that yields findings; a new one is written anywhere and named in `CHECKS`.
Findings hold ids, counts and days, never what a request selects or who asked.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.project.progress import progress
from expunge.project.terminal import plain
from expunge.releases.chain import honoured_requests, live_release
from expunge.requests.ledger import Ledger
from expunge.settings import Params


@dataclass(frozen=True)
class Audited:
    """What the checks look at."""

    paths: Paths
    params: Params
    ledger: Ledger


@dataclass(frozen=True)
class Finding:
    """One thing that is wrong (`failure`) or will soon be (`warning`).

    Attributes:
        subject: what it is about: a request's id, a release, the ledger.
        days_left: to the date in question, negative once it has passed; None where no date matters.
    """

    severity: Literal["failure", "warning"]
    subject: str
    problem: str
    days_left: int | None = None


AuditCheck = Callable[[Audited], Iterator[Finding]]


def audit(audited: Audited, checks: Sequence[AuditCheck] | None = None) -> list[Finding]:
    """The findings of all checks, failures first. One that cannot be carried out is a failure, and the rest go on."""
    findings: list[Finding] = []
    asked = CHECKS if checks is None else checks
    with progress("audit") as report:
        for number, check in enumerate(asked, 1):
            try:
                findings += check(audited)
            except ExpungeError as error:
                findings.append(Finding("failure", check.__name__.replace("_", " "), str(error)))
            report(number, len(asked))
    return sorted(findings, key=lambda finding: finding.severity)


def unbroken_ledger(audited: Audited) -> Iterator[Finding]:
    """The chain of events holds, and ends where it was left: nothing was cut off or rolled back."""
    audited.ledger.verify_chain()
    yield from ()


def forgotten_stays_out(audited: Audited) -> Iterator[Finding]:
    """The list of what must not come back is the one that was written last, and knows all that was forgotten."""
    from expunge.proof.project import suppression_checks

    for check in suppression_checks(audited.paths):
        if check.state == "mismatch":
            yield Finding("failure", "suppression list", str(check.found))


def deadlines(audited: Audited) -> Iterator[Finding]:
    """No open request is past its due date; those that soon will be are warned of."""
    for record in audited.ledger.records():
        left = record.days_left(audited.ledger.today)
        if record.is_open and left < 0:
            yield Finding("failure", record.request.request_id, f"{record.state} and overdue", left)
        elif record.is_open and left <= audited.params.ledger.warn_days:
            yield Finding("warning", record.request.request_id, f"{record.state} and soon due", left)


def honoured_by_the_live_model(audited: Audited) -> Iterator[Finding]:
    """The live model honours every request that a release has come to serve."""
    honoured = honoured_requests(audited.paths)
    for request in audited.ledger.released():
        if request.request_id not in honoured:
            problem = "not honoured by the live model; `expunge release` serves it again"
            yield Finding("failure", request.request_id, problem)


def aliases_on_sound_models(audited: Audited) -> Iterator[Finding]:
    """Nobody has put an alias on a model version that must not be used."""
    from expunge.lineage.lineage import Project
    from expunge.proof.aliases import left_behind, misplaced

    project = Project(audited.paths, audited.params)
    wrong = misplaced(project)
    for problem in wrong.values():
        yield Finding("failure", "MLflow", problem)
    for alias, problem in left_behind(project).items():
        if alias not in wrong:
            yield Finding("warning", "MLflow", f"{problem} `expunge promote` moves it.")


def nothing_forgotten_answers(audited: Audited) -> Iterator[Finding]:
    """The live index holds no forgotten sample, and none that looks the same answers in its place."""
    from expunge.proof.answers import ask

    release = live_release(audited.paths)
    if release == BASE or not audited.paths.release(release).index.is_dir():
        return
    answers = ask(audited.paths, release)
    if answers.indexed:
        yield Finding("failure", release, f"{len(answers.indexed)} forgotten samples are still in its index")
    for name in answers.look_alikes:
        yield Finding("warning", name, f"found in {release} by what it has forgotten, and looks the same")


CHECKS: tuple[AuditCheck, ...] = (
    unbroken_ledger,
    forgotten_stays_out,
    deadlines,
    honoured_by_the_live_model,
    aliases_on_sound_models,
    nothing_forgotten_answers,
)


def markdown(findings: Sequence[Finding]) -> str:
    """A report for people, in Markdown."""
    failures = sum(finding.severity == "failure" for finding in findings)
    head = f"# Audit: {failures} failures, {len(findings) - failures} warnings\n"
    if not findings:
        held = "the live model honours what was released, and nothing forgotten answers"
        return f"{head}\nThe ledger is whole, nothing is due soon, {held}."
    rows = [
        plain(f"| {finding.severity} | {finding.subject} | {_days(finding.days_left)} | {finding.problem} |")
        for finding in findings
    ]
    return "\n".join([head, "| | what | days | problem |", "|-|-|-|-|", *rows])


def _days(left: int | None) -> str:
    if left is None:
        return ""
    return f"{-left} overdue" if left < 0 else f"{left} left"
