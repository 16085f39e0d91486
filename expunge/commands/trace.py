"""`expunge trace`: from any name of a release to its whole chain."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich import markup
from rich.console import Console
from rich.tree import Tree

from expunge.lineage.account import Account, NotInMlflow, RecordedInMlflow
from expunge.project.paths import Paths
from expunge.project.terminal import plain
from expunge.settings import load_params

MARKS = {
    "ok": "[green]✓[/green]",
    "mismatch": "[bold red]✗ mismatch[/bold red]",
    "missing": "[yellow]? missing[/yellow]",
}
VERDICT_STYLES = {"passed": "green", "failed": "red"}
SHORT = 12


def trace(
    thing: Annotated[
        str,
        typer.Argument(metavar="ANYTHING", help="Request id, release, model digest (8+ characters) or clip/VERSION."),
    ],
    as_json: Annotated[bool, typer.Option("--json", help="Machine-readable output.")] = False,
) -> None:
    """Show the whole chain of a release and check its digests; status 1 where one does not fit."""
    from expunge.lineage.trace import trace as find

    paths = Paths()
    chain = find(paths, load_params(paths.params), thing)
    if as_json:
        typer.echo(json.dumps(chain.model_dump(mode="json"), indent=2, sort_keys=True, ensure_ascii=False))
    else:
        Console(highlight=False).print(tree_of(chain))
    if not chain.intact:
        raise typer.Exit(1)


def escape(text: str | None) -> str:
    """What anybody may have written in MLflow or in a file, so that neither Rich nor the terminal obeys it."""
    return markup.escape(plain(text or ""))


def tree_of(chain: Account) -> Tree:
    """The chain as a tree; digests are cut to 12 characters, checks that hold are only counted."""
    tree = Tree(f"[bold]{escape(chain.release)}[/bold]  {_verdict(chain.verdict)}")
    _add_requests(tree, chain)
    _add_parents(tree, chain)
    model = tree.add(f"model [cyan]{_short(chain.model_digest)}[/cyan]")
    for path, md5 in chain.dvc.items():
        model.add(f"{escape(path)}  [dim]DVC {escape(md5)}[/dim]")
    data = chain.data
    tree.add(f"data version [cyan]{_whole(data.version)}[/cyan], catalog {_short(data.catalog_digest)}")
    _add_mlflow(tree, chain.mlflow)
    _add_checks(tree, chain)
    return tree


def _add_requests(tree: Tree, chain: Account) -> None:
    if not chain.requests:
        tree.add("requests: none")
        return
    branch = tree.add("requests")
    for request in chain.requests:
        due = f"received {request.received_at[:10]}, due {request.due}"
        branch.add(f"{request.request_id}  {request.basis}, {due}  [dim]{_short(request.digest)}[/dim]")


def _add_parents(tree: Tree, chain: Account) -> None:
    branch = tree.add(f"made by {escape(chain.method)} from") if chain.parent and chain.method else tree
    for ancestor in chain.ancestors:
        served = f" serves {', '.join(ancestor.requests)}" if ancestor.requests else ""
        model = f"model [cyan]{_short(ancestor.model_digest)}[/cyan]"
        branch = branch.add(f"{escape(ancestor.release)}{served}  {model}  {_verdict(ancestor.verdict)}")
    if chain.children:
        tree.add(f"parent of {', '.join(map(escape, chain.children))}")


def _add_mlflow(tree: Tree, record: RecordedInMlflow | NotInMlflow) -> None:
    if isinstance(record, NotInMlflow):
        tree.add(f"MLflow: {escape(record.reason)}")
        return
    branch = tree.add("MLflow")
    for version in record.versions:
        aliases = "".join(f"  [magenta]@{escape(alias)}[/magenta]" for alias in version.aliases)
        superseded = (
            f"  [yellow]superseded by {escape(version.superseded_by)}[/yellow]" if version.superseded_by else ""
        )
        verdict = _verdict(version.verdict)
        branch.add(
            f"{escape(version.version)}  {verdict}{aliases}{superseded}  [dim]run {escape(version.run_id)}[/dim]"
        )


def _add_checks(tree: Tree, chain: Account) -> None:
    checks = chain.checks
    held = sum(check.state == "ok" for check in checks)
    branch = tree.add(f"{MARKS['ok' if chain.intact else 'mismatch']}  {held} of {len(checks)} digests are as recorded")
    for check in checks:
        if check.state == "ok":
            continue
        line = f"{MARKS[check.state]}  {escape(check.what)}: {escape(check.where)}"
        if check.state == "mismatch":
            line += f"  recorded {_short(check.recorded)}, found {_short(check.found)}"
        branch.add(line)


def _verdict(verdict: str | None) -> str:
    style = VERDICT_STYLES.get(verdict or "", "dim")
    return f"[{style}]{escape(verdict or 'unknown')}[/{style}]"


def _short(digest: str | None) -> str:
    return escape(digest[:SHORT]) if digest else "unknown"


def _whole(digest: str | None) -> str:
    return escape(digest) if digest else "unknown"
