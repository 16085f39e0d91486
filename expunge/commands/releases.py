"""`expunge release`, `status` and `report`."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
from dataclasses import asdict
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from expunge.repair.overview import ReleaseLine, RequestState

from expunge.evaluation.metrics import BaseMetrics, Metrics, ReleaseMetrics, read_metrics
from expunge.project.documents import content_of
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.prefect_home import running_server
from expunge.project.progress import is_quiet
from expunge.project.terminal import plain
from expunge.settings import Params, load_params

JsonOption = Annotated[bool, typer.Option("--json", help="Machine-readable output.")]
MARKS = {"failure": "!", "warning": "!", "note": "·", "good": "✓"}
COLUMNS = {"original": "before", "unlearned": "after", "retrained": "retrained"}


def release(
    method: Annotated[
        str | None,
        typer.Option(help="The one method to use; those of `release.methods` in turn by default."),
    ] = None,
    name: Annotated[str | None, typer.Option(help="Name of the release; the next number by default.")] = None,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show Prefect's own log as well.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Cut a release from all approved, unserved requests, and those that the live model no longer honours; run it."""
    from pydantic import ValidationError

    from expunge.project.schema import explain
    from expunge.releases.plan import drop_withdrawn, plan
    from expunge.releases.release import check_name
    from expunge.requests.ledger import Ledger
    from expunge.unlearning import registry

    paths = Paths()
    params = load_params(paths.params)
    if method is not None:
        try:
            registry.parameters(method, params.unlearn.methods.get(method, {}))
        except ValidationError as error:
            raise ExpungeError(f"Method {method}: {explain(error)}") from None
        except ValueError as error:
            raise ExpungeError(f"--method: {error}.") from None
    if name is not None:
        try:
            check_name(name)
        except ValueError as error:
            raise ExpungeError(f"--name: {error}.") from None
    ledger = Ledger.open(params.ledger, paths.root)
    if dropped := drop_withdrawn(paths, ledger):
        typer.echo(f"Release {dropped} held a withdrawn request; it is cut anew without it.", err=True)
    todo = plan(paths, ledger)
    if todo.again and not todo.unfinished:
        typer.echo(f"Served again, for no live release honours them: {', '.join(todo.again)}.", err=True)
    if not todo.unfinished and not todo.requests:
        _nothing_to_do(paths, params, as_json)
        return
    run = subprocess.run(
        [sys.executable, "-m", "flows.release", method or "", name or ""],
        env=_environment(paths, verbose),
        stdout=subprocess.DEVNULL if as_json or is_quiet() else None,
        check=False,
    )
    if run.returncode:
        raise SystemExit(run.returncode)
    report(as_json=as_json)


def _nothing_to_do(paths: Paths, params: Params, as_json: bool) -> None:
    """Say that no approved request waits, and what does wait instead."""
    from expunge.repair.index_page import write_index

    first = write_index(paths, params).first
    if as_json:
        typer.echo(json.dumps({"release": None, "first": asdict(first)}, indent=2))
        return
    typer.echo("No approved request is waiting; nothing was done.")
    if first.tone != "good":
        typer.echo(plain(f"{MARKS[first.tone]} {first.line}"))


def _environment(paths: Paths, verbose: bool) -> dict[str, str]:
    """Of the process in which the flow runs, which ends Prefect's temporary server and its loggers with it.

    Where the project's own server runs, the run shows there, and none has to be started.
    """
    # On a loaded machine the temporary server takes longer to start than the 20 s that Prefect waits.
    found = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}
    if not verbose:
        found["PREFECT_LOGGING_LEVEL"] = "CRITICAL"
    if "PREFECT_API_URL" not in os.environ:
        found |= running_server(paths)
    return found | os.environ


class Shown(StrEnum):
    """What the summary shows of each set."""

    zero_shot_top1 = "zero-shot top-1"
    image_to_text_r1 = "image→text R@1"
    text_to_image_r1 = "text→image R@1"
    pair_similarity = "pair similarity"


def report(
    release: Annotated[str | None, typer.Argument(help="The live release by default.")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print what a release forgot and kept, and where to look next."""
    from expunge.releases.chain import live_release

    paths = Paths()
    name = release or live_release(paths)
    metrics = _metrics(paths, name)
    _write_index(paths)
    if as_json:
        typer.echo(json.dumps(content_of(metrics), indent=2, sort_keys=True))
    elif isinstance(metrics, BaseMetrics):
        _print_base(metrics)
    else:
        _print_release(paths, metrics)


def _write_index(paths: Paths) -> None:
    """Bring the index up to date; where the ledger cannot be read, the figures are shown all the same."""
    from expunge.repair.index_page import write_index

    with contextlib.suppress(ExpungeError):
        write_index(paths, load_params(paths.params))


def status(as_json: JsonOption = False) -> None:
    """Say first what waits and why; then the chain of releases, and which requests are open or not honoured."""
    from expunge.repair.index_page import write_index

    paths = Paths()
    found = write_index(paths, load_params(paths.params))
    if as_json:
        typer.echo(json.dumps(found.as_dict(), indent=2))
        return
    for notice in found.notices:
        typer.echo(plain(f"{MARKS[notice.tone]} {notice.line}"))
    console = Console()
    console.print(_release_table(found.releases))
    console.print(f"Approved and waiting: {', '.join(found.waiting) or 'none'}.")
    if found.open:
        console.print(_request_table(found.open))
    for row in found.lost:
        console.print(f"[red]not honoured[/red]: {row.request_id}, {row.state} with {row.released_by}")
    console.print(f"[dim]The same as a page: {paths.overview}[/dim]")


def _release_table(rows: list[ReleaseLine]) -> Table:
    table = Table("release", "requests", "method", "verdict", title="Releases, oldest first")
    for row in rows:
        table.add_row(row.release, ", ".join(row.requests) or "–", row.method or "–", row.verdict)
    return table


def _request_table(rows: list[RequestState]) -> Table:
    table = Table("request", "state", "due", "", title="Open requests, the most urgent first")
    for row in rows:
        table.add_row(row.request_id, row.state, row.due, countdown(row.days_left or 0))
    return table


def countdown(days_left: int) -> str:
    """Days to the due date in words."""
    if days_left < 0:
        return f"[bold red]{_days(-days_left)} overdue[/bold red]"
    return "[yellow]due today[/yellow]" if days_left == 0 else f"{_days(days_left)} left"


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"


def _metrics(paths: Paths, name: str) -> Metrics:
    from expunge.releases.chain import chain, is_purged

    if name not in chain(paths):
        raise ExpungeError(f"There is no release {name}; known releases: {', '.join(chain(paths))}.")
    if is_purged(paths, name):
        raise ExpungeError(f"Release {name} was purged; {paths.release(name).tombstone} is what is left of it.")
    return read_metrics(paths.release(name).metrics)


def _print_base(metrics: BaseMetrics) -> None:
    table = Table("set", "pairs", *[str(shown) for shown in Shown], title="Base model: no request served yet")
    for name, figures in metrics.model.groups.items():
        table.add_row(name, str(figures.count), *[f"{getattr(figures, shown.name):.3f}" for shown in Shown])
    Console().print(table)


def _print_release(paths: Paths, metrics: ReleaseMetrics) -> None:
    console = Console()
    name = metrics.release
    models = {COLUMNS[key]: figures for key, figures in metrics.models.there.items()}
    verdict = "[green]passed[/green]" if metrics.gate.passed else "[red]FAILED[/red]"
    requests = ", ".join(f"{key} ({figures.count})" for key, figures in metrics.per_request.items())
    table = Table("", "", *models, title=f"Release {name} serves {requests} by {metrics.method}")
    for group, label in (
        ("forget", "forgotten"),
        ("neighbours", "neighbours"),
        ("retain", "retained"),
        ("test", "held out"),
    ):
        for row, shown in enumerate(Shown):
            cells = [f"{getattr(figures.groups[group], shown.name):.3f}" for figures in models.values()]
            first = f"{label} ({metrics.models.unlearned.groups[group].count})" if row == 0 else ""
            table.add_row(first, str(shown), *cells, end_section=row == len(Shown) - 1)
    aucs = ["–" if figures.mia_auc is None else f"{figures.mia_auc:.3f}" for figures in models.values()]
    steps = ["–" if figures.relearn_steps is None else str(figures.relearn_steps) for figures in models.values()]
    table.add_row("attacks", "membership attack AUC", *aucs)
    table.add_row("", "steps to relearn half", *steps)
    console.print(table)
    cost = metrics.cost
    console.print(f"Gate {verdict}, diagnosis: {metrics.diagnosis}.")
    for attempt in metrics.refused_attempts:
        console.print(f"  tried before: {attempt.method}, which failed {', '.join(attempt.failed)}")
    for check in metrics.gate.failed:
        console.print(f"  failed: {check.name} {check.value:.3f} > {check.limit:.3f}  {check.meaning}")
    if cost.retrain_seconds:
        ratio = cost.retrain_seconds / cost.unlearn_seconds
        compared = f"{ratio:.1f} times cheaper" if ratio >= 1 else f"{1 / ratio:.1f} times dearer"
        console.print(
            f"Unlearning took {cost.unlearn_seconds:.1f} s, retraining {cost.retrain_seconds:.1f} s: {compared}."
        )
    console.print("\nLook next:")
    console.print(f"  {paths.release(name).page}   the report, one self-contained page")
    console.print(f"  {paths.overview}         what is due, what failed, what to do")
    console.print(f"  expunge trace {name}           requests ↔ release ↔ model ↔ data version")
    if (paths.root / "Makefile").is_file():
        console.print("  make ui                      MLflow: the model versions and their lineage")
