"""`expunge audit`: what the daily audit finds, now and without Prefect."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Annotated

import typer
from rich.console import Console
from rich.markdown import Markdown

from expunge.project.paths import Paths
from expunge.project.terminal import plain
from expunge.settings import load_params


def audit(as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False) -> None:
    """Look for broken promises: ledger, due dates, live model, aliases, search. Status 1 if there is one."""
    from expunge.proof.audit import Audited, markdown
    from expunge.proof.audit import audit as find
    from expunge.repair.index_page import write_index
    from expunge.repair.overview import overview
    from expunge.repair.states import AUDIT
    from expunge.requests.ledger import Ledger

    paths = Paths()
    params = load_params(paths.params)
    findings = find(Audited(paths, params, Ledger.open(params.ledger, paths.root)), AUDIT)
    first = write_index(paths, params, overview(paths, params, proves=True)).first
    if as_json:
        typer.echo(json.dumps([asdict(finding) for finding in findings], indent=2))
    else:
        typer.echo(plain(first.line))
        Console().print(Markdown(markdown(findings)))
    if any(finding.severity == "failure" for finding in findings):
        raise typer.Exit(1)
