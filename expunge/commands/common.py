"""What the request commands share: options, states and how they look."""

from __future__ import annotations

import json
import os
import sys
from enum import StrEnum
from typing import Annotated, Any

import typer
from rich.console import Console

STATE_STYLES = {
    "received": "yellow",
    "previewed": "yellow",
    "approved": "cyan",
    "rejected": "red",
    "withdrawn": "red",
    "released": "green",
    "purged": "green",
    "verified": "bold green",
}


console = Console(highlight=False, soft_wrap=True)


JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]


IdArgument = Annotated[str, typer.Argument(metavar="ID", help="Request id, such as req-0001.")]


def _one_line(text: str | None) -> str | None:
    from expunge.requests.request import one_line

    return text if text is None else one_line(text, "--by")


ByOption = Annotated[
    str | None, typer.Option("--by", help="Who decides; the login name by default.", callback=_one_line)
]


class Basis(StrEnum):
    """Why the data has to go."""

    gdpr_art17 = "gdpr-art17"
    ccpa = "ccpa"
    copyright = "copyright"
    safety = "safety"
    quality = "quality"


class State(StrEnum):
    """How far a request has come."""

    received = "received"
    previewed = "previewed"
    approved = "approved"
    rejected = "rejected"
    withdrawn = "withdrawn"
    released = "released"
    purged = "purged"
    verified = "verified"


def has_desktop() -> bool:
    """Whether a page can be opened where the user sees it: not on a server that is reached by a terminal alone."""
    if sys.platform in ("darwin", "win32"):
        return "SSH_CONNECTION" not in os.environ
    return any(os.environ.get(name) for name in ("DISPLAY", "WAYLAND_DISPLAY"))


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def answer(as_json: bool, text: str, **facts: Any) -> None:
    """Say what was done: the sentence for people, or the facts for machines."""
    if as_json:
        print_json(facts)
    else:
        typer.echo(text)


def count_samples(count: int) -> str:
    return f"{count} sample{'' if count == 1 else 's'}"


def styled(state: str) -> str:
    return f"[{STATE_STYLES[state]}]{state}[/]"
