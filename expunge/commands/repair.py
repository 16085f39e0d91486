"""`expunge repair`, `expunge backup` and `expunge restore`."""

from __future__ import annotations

import json
import os
import sys
from pathlib import Path
from typing import Annotated

import typer

from expunge.commands.common import ByOption, JsonOption, answer
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.terminal import plain
from expunge.settings import load_params

PASSPHRASE = "EXPUNGE_BACKUP_PASSPHRASE"
PassphraseOption = Annotated[
    Path | None, typer.Option(help=f"File whose first line is the passphrase; else the variable {PASSPHRASE}.")
]


def repair(
    yes: Annotated[bool, typer.Option("--yes", help="Do what is listed, without asking.")] = False,
    by: ByOption = None,
    as_json: Annotated[bool, typer.Option("--json", help="List only, machine-readable.")] = False,
) -> None:
    """List every state that stops the project and what ends it; on a yes, do it. Status 1 while something is left."""
    from expunge.repair.state import Site
    from expunge.repair.states import MENDED, blocking
    from expunge.requests.request import login_name

    paths = Paths()
    site = Site(paths, load_params(paths.params))
    states = blocking(site, MENDED)
    if as_json:
        shown = ("subject", "problem", "remedy", "command", "severity")
        typer.echo(json.dumps([{key: getattr(state, key) for key in shown} for state in states], indent=2))
        raise typer.Exit(1 if states else 0)
    if not states:
        typer.echo("Nothing stops this project.")
        return
    for state in states:
        typer.echo(plain(f"{state.subject}: {state.problem}"))
        typer.echo(plain(f"    → {state.remedy} ({state.command or 'by hand'})"))
    mendable = [state for state in states if state.mend]
    if mendable and not yes and sys.stdin.isatty():
        yes = typer.confirm(f"Do that for {len(mendable)} of {len(states)}?")
    if mendable and not yes:
        typer.echo("Nothing was changed; `expunge repair --yes` does what is listed.")
        raise typer.Exit(1)
    for state in mendable:
        if state.mend:
            typer.echo(plain(f"{state.subject}: {state.mend(by or login_name())}"))
    if blocking(site, MENDED):
        typer.echo("Something is left; run `expunge repair` again to see it.")
        raise typer.Exit(1)


def backup(
    file: Annotated[Path, typer.Argument(help="Where to write it; better on another machine.")],
    passphrase_file: PassphraseOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write ledger, keys, suppression list and certificates to one encrypted file."""
    from expunge.repair.backup import backup as write
    from expunge.repair.state import Site

    paths = Paths()
    count = write(Site(paths, load_params(paths.params)), file, _passphrase(passphrase_file))
    said = f"{file} holds the ledger's {count} events, the keys, the suppression list and the certificates."
    answer(as_json, said, file=str(file), events=count)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `expunge backup` wrote.")],
    passphrase_file: PassphraseOption = None,
    by: ByOption = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Bring back what a backup holds and the project lacks. What was forgotten since the backup stays forgotten."""
    from expunge.repair.backup import restore as bring_back
    from expunge.repair.state import Site
    from expunge.requests.request import login_name

    if not yes:
        if not sys.stdin.isatty():
            raise ExpungeError("A restore may replace a damaged ledger; add --yes to say that you mean it.")
        typer.confirm("Restore? A damaged ledger is set aside, not deleted.", abort=True)
    paths = Paths()
    site = Site(paths, load_params(paths.params))
    notes = [plain(note) for note in bring_back(site, file, _passphrase(passphrase_file), by or login_name())]
    done = "Restored. `expunge verify` checks the whole project."
    answer(as_json, "\n".join([*notes, done]), restored=str(file), notes=notes)


def _passphrase(file: Path | None) -> str:
    if file is not None:
        try:
            return (file.read_text(encoding="utf-8").splitlines() or [""])[0]
        except OSError as error:
            raise ExpungeError(f"The passphrase file {file} cannot be read: {error.strerror}.") from error
    if found := os.environ.get(PASSPHRASE):
        return found
    raise ExpungeError(f"Give the passphrase by --passphrase-file FILE or in {PASSPHRASE}; it is never stored.")
