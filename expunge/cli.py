"""The `expunge` command. Errors that a user can mend are one or two lines on stderr and exit status 1."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, redirect_stdout
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from expunge.commands import (
    audit,
    compare,
    dag,
    decisions,
    doctor,
    examine,
    init,
    purge,
    releases,
    repair,
    requests,
    serve,
    stages,
    trace,
    verify,
)
from expunge.project.errors import ExpungeError
from expunge.project.progress import QUIET
from expunge.project.telemetry import switch_off
from expunge.project.terminal import plain


class PlainGroup(TyperGroup):
    """A group whose flags are shown as flags, without the type of what they do not take."""

    def get_params(self, ctx: Any) -> list[Any]:
        return _plain(super().get_params(ctx))

    def get_command(self, ctx: Any, cmd_name: str) -> Any:
        command = super().get_command(ctx, cmd_name)
        if command is not None:
            _plain([*command.params, command.get_help_option(ctx)])
        return command


def _plain(params: list[Any]) -> list[Any]:
    for param in params:
        if getattr(param, "is_bool_flag", False):
            param.metavar = ""
    return params


app = typer.Typer(
    cls=PlainGroup,
    name="expunge",
    help="Serve deletion requests on a CLIP model: request → release → proof.",
    no_args_is_help=True,
    context_settings={"help_option_names": ["-h", "--help"]},
    pretty_exceptions_enable=False,
)
request = typer.Typer(cls=PlainGroup, no_args_is_help=True)
request.command("add")(requests.add)
request.command("import")(requests.import_)
request.command("digest")(requests.digest)
request.command("list")(requests.list_)
request.command("show")(requests.show)
request.command("preview")(decisions.preview)
request.command("approve")(decisions.approve)
request.command("reject")(decisions.reject)
request.command("withdraw")(decisions.withdraw)
app.add_typer(request, name="request", help="Record, inspect and decide deletion requests.")
app.command("release")(releases.release)
app.command("status")(releases.status)
app.command("report")(releases.report)
app.command("compare")(compare.compare)
app.command("dag")(dag.dag)
app.command("search")(releases.search)
app.command("trace")(trace.trace)
app.command("audit")(audit.audit)
app.command("examine")(examine.examine)
app.command("purge")(purge.purge)
app.command("verify")(verify.verify)
app.command("promote")(verify.promote)
app.command("init")(init.init)
app.command("doctor")(doctor.doctor)
app.command("repair")(repair.repair)
app.command("backup")(repair.backup)
app.command("restore")(repair.restore)
app.command("serve")(serve.serve)
app.command("subjects")(serve.subjects)
app.command("stages")(stages.stages)
app.add_typer(verify.app, name="certificate", cls=PlainGroup, help="Show, sign and key certificates.")


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
