"""`expunge doctor`: what is missing or wrong, in one table."""

from __future__ import annotations

import json
from dataclasses import asdict

import typer
from rich.table import Table

from expunge.commands.common import JsonOption, console
from expunge.project.paths import Paths
from expunge.settings import load_params

STYLES = {"ok": "green", "note": "yellow", "blocks": "bold red"}


def doctor(as_json: JsonOption = False) -> None:
    """Look at the machine and at what the project reaches; status 1 where something is in the way."""
    from expunge.repair.checkup import checkup
    from expunge.repair.state import Site

    paths = Paths()
    found = checkup(Site(paths, load_params(paths.params)))
    if as_json:
        typer.echo(json.dumps([asdict(symptom) for symptom in found], indent=2))
    else:
        table = Table("", "state", "found", "what to do", box=None, pad_edge=False)
        for symptom in found:
            style = STYLES[symptom.state]
            table.add_row(symptom.subject, f"[{style}]{symptom.state}[/]", symptom.found, symptom.cure)
        console.print(table)
    raise typer.Exit(1 if any(symptom.state == "blocks" for symptom in found) else 0)
