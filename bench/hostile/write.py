"""`python -m bench.hostile.write [TRIES]`: run the campaigns and write their tables into docs/reliability.md."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path

from bench.hostile.parsers import parsers
from bench.hostile.row import Row
from expunge.project.files import write_bytes

PAGE = Path("docs/reliability.md")
CAMPAIGNS: dict[str, Callable[[int], list[Row]]] = {"Hostile input for every parser": parsers}
HEAD = (
    "# Reliability\n\nWhat was tried against Expunge, and what held: an answer or a refusal in words, within the time. "
    "Written by\n`python -m bench.hostile.write`; seeds are fixed.\n"
)


def main() -> None:
    """Run all campaigns."""
    tries = int(sys.argv[1]) if len(sys.argv) > 1 else 1000
    text = HEAD + "".join(section(title, campaign(tries)) for title, campaign in CAMPAIGNS.items())
    write_bytes(PAGE, text.encode())


def section(title: str, rows: list[Row]) -> str:
    """One campaign as Markdown."""
    lines = [f"| {row.what} | {row.tried} | {row.held} | {row.failed} |" for row in rows]
    return "\n".join(["", f"## {title}", "", "| what | tried | held | failed |", "|-|-|-|-|", *lines, ""])


if __name__ == "__main__":
    main()
