"""What the request commands share: options, states and how they look."""

from __future__ import annotations

import json
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console

if TYPE_CHECKING:
    pass


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


def print_json(value: Any) -> None:
    typer.echo(json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False))


def count_samples(count: int) -> str:
    return f"{count} sample{'' if count == 1 else 's'}"


def styled(state: str) -> str:
    return f"[{STATE_STYLES[state]}]{state}[/]"
