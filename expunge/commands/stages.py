"""`expunge stages`: the pipeline files in step with the library."""

from __future__ import annotations

import typer

from expunge.project.paths import Paths
from expunge.settings import load_params


def stages() -> None:
    """Bring dvc.yaml and each release's dvc.yaml in step with the library, after an upgrade or a change of its code."""
    from expunge import __version__
    from expunge.project.library import acknowledge
    from expunge.releases.stages import bring_up_to_date

    paths = Paths()
    written = bring_up_to_date(paths, load_params(paths.params).catalog)
    for path in written:
        typer.echo(f"wrote {path}")
    if acknowledge(paths) and paths.library_version.is_file():
        written.append(paths.library_version)
        typer.echo(f"wrote {paths.library_version}: every stage depends on expunge {__version__} now")
    if written:
        typer.echo("Look next: `dvc status` lists what that makes stale, `dvc repro` rebuilds it.")
    else:
        typer.echo("Every pipeline file is up to date.")
