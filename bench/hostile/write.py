"""`python -m bench.hostile.write`: what the campaigns found, as docs/reliability.md."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from bench.hostile.row import Row
from bench.hostile.run import LEDGERS, RESULTS
from expunge.project.files import read_json, write_bytes
from expunge.proof.coverage import NOT_COVERED

PAGE = Path("docs/reliability.md")
HEAD = """# Reliability

What was tried against Expunge, and what held. `python -m bench.hostile.run` makes the attempts, `python -m
bench.hostile.guided` those under Atheris, and `python -m bench.hostile.write` this page. Every attempt is drawn from
seed {seed}, its kind and its number; moments are those of the clock. A short run is part of the tests
(`tests/test_hostile.py`).

Measured on {machine}.
"""
INPUT = """
## Hostile input for every reader

Held: an answer or a refusal in words within five seconds. Inputs are drawn by Hypothesis: noise, sound files with
parts changed, and sound syntax with another meaning; *guided by coverage* are those that Atheris makes.
"""
FLIPS = """
## Bit flips

One bit of a file, or of one value of a table of the ledger or of MLflow, is flipped in a project with a certified
release; then `expunge verify` checks the project. Places are drawn evenly among all files and tables, but for what
DVC and git keep for themselves. Held: the check names the place, or every certificate lists it as not covered.
"""
KILLS = """
## Kills and races, the ledger on {ledger}

Models are stand-ins of a few bytes; ledger, locks, certificates, lists, DVC, purge, repair and verification are the
real ones. A killed job is one of `SIGKILL` at a moment drawn evenly from as long as the job takes. Two jobs that race
start within half a second of each other. Then what blocks the project is repaired, each job is done once more, and
the project is checked. Held: nothing acknowledged is lost, nothing is recorded or served twice, nothing blocks the
project, every certificate verifies, and a purge is clean.
"""


def main() -> None:
    """Write the page."""
    found = read_json(RESULTS)
    rows = [Row.of(row) for row in found["rows"]]
    machine = found["machine"]
    shown = f"{machine['cores']} cores of {machine['processor']}, Python {machine['python']}, with other work beside"
    flips = [row for row in rows if row.what.startswith("bit flips")]
    text = HEAD.format(seed=found["seed"], machine=shown)
    text += INPUT + _table(row for row in rows if not row.what.startswith(("bit flips", "kills", "races")))
    text += FLIPS + _table(flips) + _not_covered(flips)
    for ledger in LEDGERS:
        text += KILLS.format(ledger=ledger) if ledger == LEDGERS[0] else f"\n## The same on {ledger}\n"
        text += _table(row for row in rows if row.what.endswith(f", {ledger}"))
    write_bytes(PAGE, text.encode())


def _table(rows: Iterable[Row]) -> str:
    lines: list[str] = []
    faults: list[str] = []
    for row in rows:
        faults += (f"- {row.what}, attempt {place}" for place in row.places)
        what = row.what.removesuffix(f", {LEDGERS[0]}").removesuffix(f", {LEDGERS[1]}")
        notes = "; ".join(f"{count} {note}" for note, count in row.notes.items() if note not in NOT_COVERED)
        lines.append(f"| {what} | {row.tried} | {row.held} | {row.failed} | {notes} |")
    if not lines:
        return "\nNot measured yet.\n"
    named = ["What failed ([the log](log.md) says what became of it):", "", *faults, ""] if faults else []
    head = ["", "| what | tried | held | failed | of those that held |", "|-|-|-|-|-|"]
    return "\n".join([*head, *lines, "", *named])


def _not_covered(rows: Iterable[Row]) -> str:
    lines = [f"- {count}: {note}" for row in rows for note, count in row.notes.items() if note in NOT_COVERED]
    return "\n".join(["", "Not covered, and listed so:", "", *lines, ""]) if lines else ""


if __name__ == "__main__":
    main()
