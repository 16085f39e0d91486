"""The `expunge` command. Errors that a user can mend are one or two lines on stderr and exit status 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated

import typer

from expunge.commands.groups import lazy
from expunge.project.errors import ExpungeError
from expunge.project.progress import QUIET
from expunge.project.telemetry import switch_off
from expunge.project.terminal import plain

app = typer.Typer(
    cls=lazy("expunge"),
    name="expunge",
    help="Serve deletion requests on a CLIP model: request → release → proof.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
request = typer.Typer(cls=lazy("request"), no_args_is_help=True)
certificate = typer.Typer(cls=lazy("certificate"), no_args_is_help=True)
app.add_typer(request, name="request")
app.add_typer(certificate, name="certificate")


@request.callback()
def _request() -> None:
    """Record, inspect and decide deletion requests."""


@certificate.callback()
def _certificate() -> None:
    """Show, sign and key certificates."""


def _version(value: bool) -> None:
    if value:
        from expunge import __version__

        typer.echo(f"expunge {__version__}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")
    ] = False,
    quiet: Annotated[
        bool, typer.Option("--quiet", "-q", help="Say nothing but results and errors; anywhere on the line.")
    ] = False,
) -> None:
    switch_off()
    if quiet:
        os.environ[QUIET] = "1"


RESULTS = frozenset({"add", "digest", "certificate", "--json"})
"""Words of a command line whose standard output is a result, which `--quiet` leaves."""


def _quiet_first(arguments: list[str]) -> list[str]:
    """The command line with `--quiet` in front, wherever it stood."""
    rest = [argument for argument in arguments if argument not in ("--quiet", "-q")]
    return ["--quiet", *rest] if len(rest) < len(arguments) else arguments


@contextmanager
def _silence(arguments: list[str]) -> Iterator[None]:
    """Send standard output nowhere where `--quiet` was asked for and it is no result."""
    if not {"--quiet", "-q"} & set(arguments) or RESULTS & set(arguments):
        yield
        return
    with open(os.devnull, "w", encoding="utf-8") as nowhere, redirect_stdout(nowhere):
        yield


def main() -> None:
    """Entry point of the console script."""
    try:
        with _silence(sys.argv):
            app(args=_quiet_first(sys.argv[1:]))
    except ExpungeError as error:
        print("Error: " + "\n".join(map(plain, str(error).splitlines())), file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"Error: {error.filename or 'file system'}: {error.strerror or error}.", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
