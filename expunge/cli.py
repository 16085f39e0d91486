"""The `expunge` command. Errors that a user can mend are one or two lines on stderr and exit status 1."""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from expunge.commands import (
    audit,
    decisions,
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
from expunge.project.telemetry import switch_off
from expunge.project.terminal import plain

app = typer.Typer(
    name="expunge",
    help="Serve deletion requests on a CLIP model: request → release → proof.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
request = typer.Typer(no_args_is_help=True)
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
app.command("search")(releases.search)
app.command("trace")(trace.trace)
app.command("audit")(audit.audit)
app.command("examine")(examine.examine)
app.command("purge")(purge.purge)
app.command("verify")(verify.verify)
app.command("promote")(verify.promote)
app.command("init")(init.init)
app.command("repair")(repair.repair)
app.command("backup")(repair.backup)
app.command("restore")(repair.restore)
app.command("serve")(serve.serve)
app.command("subjects")(serve.subjects)
app.command("stages")(stages.stages)
app.add_typer(verify.app, name="certificate", help="Show, sign and key certificates.")


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
) -> None:
    switch_off()


def main() -> None:
    """Entry point of the console script."""
    try:
        app()
    except ExpungeError as error:
        print("Error: " + "\n".join(map(plain, str(error).splitlines())), file=sys.stderr)
        raise SystemExit(1) from None
    except OSError as error:
        print(f"Error: {error.filename or 'file system'}: {error.strerror or error}.", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
