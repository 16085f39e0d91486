"""`expunge request preview`, `approve`, `reject` and `withdraw`: what a reviewer does."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape
from rich.table import Table

from expunge.commands.common import (
    ByOption,
    IdArgument,
    JsonOption,
    answer,
    console,
    count_samples,
    has_desktop,
    print_json,
)
from expunge.intake.desk import Desk
from expunge.project.paths import Paths

if TYPE_CHECKING:
    from expunge.intake.preview import Preview, RelatedSamples


def preview(request_id: IdArgument, as_json: JsonOption = False) -> None:
    """Show what a request would delete, what lies near it, and what it would not catch; write a page of pictures."""
    from expunge.intake.review import look

    shown = look(Desk(Paths()), request_id)
    found, page = shown.preview, shown.page
    if as_json:
        print_json(found.as_dict() | {"page": str(page) if page else None})
        return
    _print_preview(found)
    if page:
        console.print(f"\nPictures for the reviewer: {page}")
        if console.is_terminal and has_desktop():
            typer.launch(str(page))


def approve(
    request_id: IdArgument,
    by: ByOption = None,
    include: Annotated[
        list[str] | None,
        typer.Option(metavar="SAMPLE", help="Take along this near-duplicate that the preview showed. Repeatable."),
    ] = None,
    with_duplicates: Annotated[
        bool, typer.Option("--with-duplicates", help="Take along all near-duplicates that the preview showed.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Approve a request, and those near-duplicates that you name: the next release serves it."""
    from expunge.intake.review import approve as decide

    done = decide(Desk(Paths()), request_id, by, None if with_duplicates else include or ())
    answer(
        as_json,
        f"{request_id} is approved, with {len(done.taken)} near-duplicates; next: expunge release",
        request_id=request_id,
        state="approved",
        near_duplicates_taken=len(done.taken),
        near_duplicates_left=len(done.left_out),
        near_duplicates_looked_for=bool(done.looked),
    )
    if done.left_out:
        left = len(done.left_out)
        typer.echo(f"{left} near-duplicates that the preview showed stay: nobody said yes to them.", err=True)
    if not done.looked:
        typer.echo("Nobody has looked for near-duplicates: no preview was made, or none could look for them.", err=True)


def reject(
    request_id: IdArgument,
    reason: Annotated[str, typer.Option(help="Why it is rejected, without personal data.")],
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Reject a request, with the reason."""
    from expunge.intake.review import reject as decide

    decide(Desk(Paths()), request_id, by, reason)
    answer(as_json, f"{request_id} is rejected", request_id=request_id, state="rejected")


def withdraw(
    request_id: IdArgument,
    reason: Annotated[str, typer.Option(help="Why it is withdrawn, without personal data.")],
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw a request, approved or not, that no release serves yet."""
    from expunge.intake.preview_page import discard_pages

    desk = Desk(Paths())
    desk.ledger.withdraw(request_id, by, reason)
    discard_pages(desk.paths, [request_id])
    answer(as_json, f"{request_id} is withdrawn", request_id=request_id, state="withdrawn")


def _print_preview(found: Preview) -> None:
    console.print(f"[bold]{found.request_id}[/bold] selects {count_samples(found.samples)}")
    table = Table("class", "samples")
    for name, count in found.by_class.items():
        table.add_row(escape(name), str(count))
    console.print(table)
    console.print("splits: " + ", ".join(f"{count} {split}" for split, count in found.by_split.items()))
    _print_finding("Neighbours", found.neighbours)
    console.print("\n[bold]Not selected, but like what is selected[/bold]")
    _print_finding("Near-duplicates", found.near_duplicates)
    _print_finding("Captions", found.captions)
    _print_finding("Concepts", found.concepts)


def _print_finding(title: str, finding: RelatedSamples) -> None:
    total = "" if finding.total is None else f"{finding.total} "
    console.print(f"\n[bold]{title}[/bold]: {total}[dim]({escape(finding.rule)})[/dim]")
    if not finding.shown:
        return
    table = Table("sample", "class", "resembles", "score")
    for one in finding.shown:
        score = "-" if one.score is None else f"{one.score:.3f}"
        table.add_row(escape(one.sample_id), escape(one.class_name), escape(one.resembles), score)
    console.print(table)
    if finding.total is not None and finding.total > len(finding.shown):
        console.print(f"… and {finding.total - len(finding.shown)} more")
