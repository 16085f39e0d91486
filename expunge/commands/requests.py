"""`expunge request add`, `import`, `digest`, `list` and `show`."""

from __future__ import annotations

from datetime import date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.markup import escape
from rich.table import Table

from expunge.commands.common import (
    Basis,
    ByOption,
    IdArgument,
    JsonOption,
    State,
    answer,
    console,
    count_samples,
    print_json,
    styled,
)
from expunge.commands.releases import countdown
from expunge.intake.desk import Desk
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths

if TYPE_CHECKING:
    from expunge.requests.events import Record

DEFAULT_TOP = 10
"""Pictures that --text selects where neither --min-score nor --top says otherwise: few enough to look at each."""

DEFAULT_LIKENESS = 0.9
"""The least cosine with an example picture where --min-score does not say otherwise."""


def add(
    basis: Annotated[Basis, typer.Option(help="Legal or other basis of the deletion.")],
    ids: Annotated[list[str] | None, typer.Option("--id", help="A sample id. Repeatable.")] = None,
    subjects: Annotated[list[str] | None, typer.Option("--subject", help="A pseudonymous subject. Repeatable.")] = None,
    classes: Annotated[list[str] | None, typer.Option("--class", help="A class name. Repeatable.")] = None,
    texts: Annotated[list[str] | None, typer.Option("--text", help="Pictures like this text. Repeatable.")] = None,
    images: Annotated[
        list[Path] | None,
        typer.Option(
            "--image", exists=True, dir_okay=False, help="Pictures like this file's; it is not kept. Repeatable."
        ),
    ] = None,
    min_score: Annotated[
        float | None,
        typer.Option(min=-1, max=1, help=f"With --text or --image: the least cosine; {DEFAULT_LIKENESS} for images."),
    ] = None,
    top: Annotated[
        int | None,
        typer.Option(min=1, help=f"With --text: that many pictures for each text; {DEFAULT_TOP} by default."),
    ] = None,
    where: Annotated[
        list[str] | None, typer.Option("--where", help="A SQL predicate over the catalog's columns. Repeatable.")
    ] = None,
    requester: Annotated[str | None, typer.Option(help="Who asks; only a keyed digest is kept.")] = None,
    due: Annotated[
        datetime | None, typer.Option(formats=["%Y-%m-%d"], help="Last day; one month from today by default.")
    ] = None,
    note: Annotated[str | None, typer.Option(help="A remark without personal data.")] = None,
    reference: Annotated[
        str | None, typer.Option(help="The sender's own name for it; given again, it names the same request.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Record a request for what any of its selectors catches; print its id."""
    if min_score is not None and top is not None:
        raise typer.BadParameter("give either --min-score or --top, not both")
    if (min_score is not None and not texts and not images) or (top is not None and not texts):
        raise typer.BadParameter("--min-score belongs to --text and --image, --top to --text")
    if not (ids or subjects or classes or texts or images or where):
        raise typer.BadParameter("say what to delete: --id, --subject, --class, --text, --image or --where")

    desk = Desk(Paths())
    likeness = DEFAULT_LIKENESS if min_score is None else min_score
    examples = [desk.like_example(example, likeness) for example in images or ()]
    selectors = _selectors(ids, subjects, classes, texts, min_score, top, where, examples)
    # By now a release may have forgotten what a known request selects.
    known = bool(reference and desk.ledger.known_references([reference]))
    count = None if known else desk.check(selectors)
    request = desk.ledger.add(
        selectors,
        basis.value,
        requester=requester,
        due=due.date() if due else None,
        note=note,
        reference=reference,
    )
    if count is None:
        typer.echo(f"Known already; see: expunge request show {request.request_id}", err=True)
    else:
        typer.echo(
            f"Recorded. It selects {count_samples(count)} today and is due on {request.due}; "
            f"next: expunge request preview {request.request_id}",
            err=True,
        )
    facts = {"request_id": request.request_id, "due": str(request.due), "samples": count, "known": known}
    answer(as_json, request.request_id, **facts)


def import_(
    path: Annotated[
        Path | None, typer.Argument(help="A JSON or CSV file or a folder of them; `ledger.drop_folder` by default.")
    ] = None,
    by: ByOption = None,
    as_json: JsonOption = False,
) -> None:
    """Record the requests of files; receipts go to done/, the reasons for refusing a file to refused/."""
    from expunge.intake.folder import import_path

    desk = Desk(Paths())
    if path is None:
        path = desk.paths.root / desk.params.ledger.drop_folder
        path.mkdir(parents=True, exist_ok=True)
    outcomes = []
    for outcome in import_path(path, desk.ledger, desk.check, by):
        outcomes.append(outcome)
        if not as_json:
            said = f"{outcome.file}: {outcome.reason or ' '.join(outcome.requests)}"
            typer.echo(said, err=outcome.reason is not None)
    if as_json:
        shown = [{"file": str(one.file), "requests": list(one.requests), "refused": one.reason} for one in outcomes]
        print_json(shown)
    if any(outcome.reason is not None for outcome in outcomes):
        raise typer.Exit(1)


def digest(requester: Annotated[str, typer.Argument(help="Who asks.")], as_json: JsonOption = False) -> None:
    """Print the keyed digest of a requester, for systems that must not be told who asks."""
    found = Desk(Paths()).ledger.digest_requester(requester)
    answer(as_json, found, digest=found)


def _selectors(
    ids: list[str] | None,
    subjects: list[str] | None,
    classes: list[str] | None,
    texts: list[str] | None,
    min_score: float | None,
    top: int | None,
    where: list[str] | None,
    examples: list[dict[str, Any]],
) -> list[Any]:
    """The options as validated selectors.

    Raises:
        ExpungeError: a value is not valid.
    """
    from pydantic import TypeAdapter, ValidationError

    from expunge.project.schema import explain
    from expunge.requests.request import Selector

    rule = {"min_score": min_score} if min_score is not None else {"top": top or DEFAULT_TOP}
    given = [
        *([{"kind": "id", "ids": list(dict.fromkeys(ids))}] if ids else []),
        *({"kind": "subject", "subject_id": subject} for subject in subjects or ()),
        *({"kind": "class", "class_name": name} for name in classes or ()),
        *({"kind": "text", "text": text, **rule} for text in texts or ()),
        *examples,
        *({"kind": "where", "sql": sql} for sql in where or ()),
    ]
    try:
        return TypeAdapter(list[Selector]).validate_python(given)
    except ValidationError as error:
        raise ExpungeError(f"Selectors: {explain(error)}") from None


def list_(
    state: Annotated[State | None, typer.Option(help="Only requests in this state.")] = None,
    as_json: JsonOption = False,
) -> None:
    """List the requests."""
    ledger = Desk(Paths()).ledger
    records = ledger.records(state.value if state else None)
    if as_json:
        print_json([_as_dict(record, ledger.today) for record in records])
        return
    table = Table("request", "state", "basis", "due", "", "selects", "release")
    for record in records:
        request = record.request
        table.add_row(
            request.request_id,
            styled(record.state),
            request.basis,
            str(request.due),
            countdown(record.days_left(ledger.today)) if record.is_open else "",
            escape("; ".join(selector.summary for selector in request.selectors)),
            escape(record.release or "-"),
        )
    console.print(table)


def show(request_id: IdArgument, as_json: JsonOption = False) -> None:
    """Show a request and what happened to it."""
    ledger = Desk(Paths()).ledger
    record = ledger.get(request_id)
    if as_json:
        print_json(_as_dict(record, ledger.today))
        return
    request = record.request
    left = f", {countdown(record.days_left(ledger.today))}" if record.is_open else ""
    console.print(
        f"[bold]{request.request_id}[/bold]  {styled(record.state)}  {request.basis}, due {request.due}{left}"
    )
    if request.external_reference:
        console.print(f"  known as {escape(request.external_reference)}")
    for selector in request.selectors:
        console.print(f"  selects  {escape(selector.summary)}")
    if request.note:
        console.print(f"  note     {escape(request.note)}")
    for sample in record.approved_near_duplicates:
        console.print(f"  takes    {escape(sample.sample_id)}, {escape(sample.reason)}")
    for name in record.left_near_duplicates:
        console.print(f"  leaves   {escape(name)}, which the approver saw")
    if record.release:
        console.print(f"  release  {escape(record.release)}, model {record.model_digest}")
    if record.state in ("rejected", "withdrawn"):
        console.print(f"  reason   {escape(record.events[-1].payload['reason'])}")
    table = Table("event", "what", "at", "by")
    for event in record.events:
        table.add_row(str(event.seq), event.kind, event.at, escape(event.by))
    console.print(table)


def _as_dict(record: Record, today: date) -> dict[str, Any]:
    return {
        **record.request.model_dump(mode="json"),
        "digest": record.request.digest,
        "state": record.state,
        "days_left": record.days_left(today) if record.is_open else None,
        "release": record.release,
        "model_digest": record.model_digest,
        "events": [event.model_dump() for event in record.events],
    }
