"""`expunge compare`: what changed between two models, on one page that works offline."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from expunge.commands.common import JsonOption, print_json
from expunge.project.paths import Paths
from expunge.settings import load_params


def compare(
    first: Annotated[
        str,
        typer.Argument(
            metavar="A",
            help="A release, RELEASE:gold, METHOD or RELEASE:METHOD (what it makes of that release), or a folder.",
        ),
    ],
    second: Annotated[str, typer.Argument(metavar="B", help="Likewise.")],
    queries: Annotated[
        list[str] | None, typer.Option("--query", help="Show what this text finds as well. Repeatable.")
    ] = None,
    out: Annotated[
        Path | None, typer.Option(dir_okay=False, help="The page; reports/compare/A-B.html by default.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Compare two models class by class, concept by concept and sample by sample; write a page.

    A method that served no release makes its model now, from the release's parent, and the model is kept nowhere.
    """
    from expunge.examination.compare import compare as find
    from expunge.examination.compare import summary
    from expunge.project.files import write_bytes
    from expunge.report.comparison import render_comparison

    paths = Paths()
    found = find(paths, load_params(paths.params), (first, second), queries or ())
    page = out or paths.comparison(first, second)
    write_bytes(page, render_comparison(paths, found).encode())
    figures = summary(found)
    if as_json:
        print_json({"a": first, "b": second, "page": str(page), "layers": found.layers, **figures})
        return
    typer.echo(
        f"{first} → {second}, {figures['samples']:.0f} samples that stay: similarity {figures['mean_change']:+.3f} on "
        f"average; {figures['lost_more_than_0.1']:.1%} lost more than 0.1, {figures['gained_more_than_0.1']:.1%} "
        f"gained more. Caption found first: {figures['recall_a']:.1%} and {figures['recall_b']:.1%}."
    )
    typer.echo(f"Page: {page}")
