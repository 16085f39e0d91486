"""`expunge examine`: further questions to a release, for audits and for releases that look odd."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from expunge.commands.common import print_json
from expunge.examination.answers import figures
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.settings import load_params

COLUMNS = {"original": "before", "unlearned": "after", "retrained": "retrained"}


def examine(
    release: Annotated[str, typer.Argument(metavar="RELEASE", help="The release to examine.")],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Write the answers to this file, as JSON.")
    ] = None,
    diffusion: Annotated[
        Path | None,
        typer.Option(
            "--diffusion",
            metavar="DIR",
            help="Also ask whether this text-to-image pipeline still paints what was forgotten (extra `diffusion`).",
        ),
    ] = None,
) -> None:
    """Ask what is left: uses, privacy and residue, beside the parent's model and the gold standard. Takes minutes."""
    from expunge.examination.release import examine_release

    paths = Paths()
    found = examine_release(paths, load_params(paths.params), release, str(diffusion) if diffusion else None)
    if out:
        write_json(out, found)
    if as_json:
        print_json(found)
    else:
        _print(found)


def _print(found: dict[str, Any]) -> None:
    models = {name: figures(found["models"][name]) for name in COLUMNS if name in found["models"]}
    table = Table("question", title=f"{found['release']} from {found['parent']} by {found['method']}")
    for name in models:
        table.add_column(COLUMNS[name], justify="right")
    for key in dict.fromkeys(key for answers in models.values() for key in answers):
        table.add_row(key, *(f"{answers[key]:.3f}" if key in answers else "" for answers in models.values()))
    console = Console(highlight=False)
    console.print(table)
    scores = ", ".join(f"{name} {value:.3f}" for name, value in found["scores"].items() if value is not None)
    console.print(f"scores: {scores}; entanglement of the forget set with what stays {found['entanglement']:.3f}")
    console.print("Read each figure against that of the retrained model, not against zero.")
