"""`expunge dag`: the pipeline in the width of a terminal; `dvc dag` draws every edge, which no screen holds."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.markup import escape

from expunge.commands.common import JsonOption, print_json
from expunge.project.paths import Paths

MARKS = {
    "recorded": "[green]✓[/green]",
    "changed": "[yellow]![/yellow]",
    "not run": "[dim]·[/dim]",
    "running": "[cyan]▶[/cyan]",
}
WIDTH = 100


def dag(
    release: Annotated[str | None, typer.Argument(help="Only the stages of this release; all by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Show the stages of the project and of each release in their order, and which have run."""
    from expunge.lineage.dvc.stages import stage_groups
    from expunge.project.errors import ExpungeError

    groups = stage_groups(Paths())
    if release is not None:
        groups = [group for group in groups if group.release == release]
        if not groups:
            raise ExpungeError(f"There are no stages of {release}; `expunge dag` shows all.")
    if as_json:
        print_json(
            [
                {
                    "release": group.release,
                    "parent": group.parent,
                    "stages": [
                        {"stage": one.name, "state": one.state, "after": list(one.after)} for one in group.stages
                    ],
                }
                for group in groups
            ]
        )
        return
    console = Console(highlight=False)
    console.width = min(console.width, WIDTH)
    for group in groups:
        come = f" [dim]from {escape(group.parent)}[/dim]" if group.parent else ""
        console.print(f"[bold]{escape(group.release)}[/bold]{come}")
        for stage in group.stages:
            after = f" [dim]after {escape(', '.join(stage.after))}[/dim]" if stage.after else ""
            console.print(f"  {MARKS[stage.state]} {escape(stage.name)}{after}", soft_wrap=False)
    console.print("[dim]✓ recorded in dvc.lock   ! an input has another digest since   · not run yet   ▶ running[/dim]")
    console.print("[dim]`dvc status` also compares the files, once nothing runs; `dvc repro` runs what is stale.[/dim]")
