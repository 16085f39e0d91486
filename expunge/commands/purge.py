"""`expunge purge`: remove forgotten content from every place, with proof."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.settings import load_params


def purge(
    release: Annotated[str, typer.Argument(help="The release that becomes the beginning of the chain.")],
    dry_run: Annotated[bool, typer.Option("--dry-run", help="List what would be removed and stop.")] = False,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Remove what a release and its ancestors forgot from catalog, models, indexes, caches and MLflow, with proof."""
    from expunge.purge import run
    from expunge.purge.journal import Journal
    from expunge.purge.plan import plan

    paths = Paths()
    params = load_params(paths.params)
    console = Console(stderr=as_json)
    journal = Journal.open(paths, release)
    if journal is not None and dry_run:
        raise ExpungeError(f"A purge of {release} is under way; run `expunge purge {release}` to finish it.")
    with run.alone(paths):
        if journal is None:
            planned = plan(paths, params, release)
            items = [asdict(item) for item in planned.items]
            if dry_run and as_json:
                typer.echo(json.dumps({"release": release, "removed": items}, indent=2))
            else:
                console.print(_table(release, items, len(planned.forgotten)))
            if dry_run:
                return
            _confirm(release, yes)
            journal = run.begin(paths, planned)
        proof = run.finish(paths, params, journal, lambda step: console.print(f"purge: {step}", style="dim"))
    if as_json:
        typer.echo(json.dumps(proof, indent=2))
    else:
        _print_outcome(console, paths, proof)


def _confirm(release: str, yes: bool) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise ExpungeError("A purge cannot be undone; add --yes to say that you mean it.")
    typer.confirm(f"Remove all this for good, so that the chain begins at {release}?", abort=True)


def _table(release: str, items: Iterable[Mapping[str, Any]], samples: int) -> Table:
    items = list(items)
    total = sum(item["bytes"] for item in items)
    table = Table(title=f"Purge of {release}: {samples} forgotten samples, {_size(total)}")
    for column in ("surface", "path", "files", "bytes", "why"):
        table.add_column(column, justify="right" if column in ("files", "bytes") else "left", overflow="fold")
    for item in items:
        table.add_row(item["surface"], item["path"], str(item["files"]), str(item["bytes"]), item["why"])
    return table


def _print_outcome(console: Console, paths: Paths, proof: Mapping[str, Any]) -> None:
    scanned, release = proof["scan"], proof["release"]
    console.print(
        f"[green]Clean[/green]: no trace of {proof['forgotten']['samples']} samples in {scanned['files']} files "
        f"({_size(scanned['bytes'])}, {scanned['seconds']:.1f} s); {proof['retained']['samples']} retained samples are "
        "as they were."
    )
    console.print("What cannot be reached:")
    for place in proof["out_of_reach"]:
        console.print(f"  {place}")
    console.print("\nLook next:")
    console.print(f"  {paths.release(release).purge}   the proof")
    console.print("  git add dvc.yaml dvc.lock releases && git commit   the chain now begins here")


def _size(count: int) -> str:
    return f"{count / 1e6:.1f} MB"
