"""What a reviewer does, at the command line or in Prefect's form: look at a request, then approve it or not."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from expunge.intake.desk import Desk
from expunge.intake.preview import Preview, preview
from expunge.intake.preview_page import discard_pages, write_page
from expunge.project.errors import ExpungeError
from expunge.requests.events import FORWARD, Record
from expunge.requests.request import LikeSample
from expunge.selection.match import matches, select


@dataclass(frozen=True)
class Look:
    """What a reviewer was shown.

    Attributes:
        preview: what the request would delete and what lies near it.
        near_duplicates: those that wait for a yes; None where none could be looked for.
        page: the page of pictures, None where the request is decided already.
    """

    preview: Preview
    near_duplicates: tuple[LikeSample, ...] | None
    page: Path | None


def look(desk: Desk, request_id: str, by: str | None = None) -> Look:
    """Preview a request, record that somebody saw it, and write its page of pictures.

    Raises:
        ExpungeError: there is no such request, or it selects nothing.
    """
    record = desk.ledger.get(request_id)
    sources = (desk.forgotten, desk.text_scores)
    selected = matches(desk.catalog, record.request.selectors, *sources, desk.subject_digest)
    duplicates = desk.near_duplicates(set(selected))
    found = preview(
        desk.catalog, record.request, *sources, desk.embeddings, duplicates, subject_digest=desk.subject_digest
    )
    shown = {} if found.expansion is None else {"expansion": found.expansion}
    desk.ledger.record_preview(request_id, found.counts() | shown, by)
    page = write_page(desk.paths, desk.catalog, found, list(selected)) if record.is_open else None
    return Look(found, desk.ledger.get(request_id).shown_near_duplicates, page)


def preview_markdown(shown: Look, record: Record) -> str:
    """A preview for Prefect's pages: numbers and ids, and never a picture or a caption."""
    found, request = shown.preview, record.request
    lines = [
        f"# {found.request_id} would delete {found.samples} samples",
        f"Basis {request.basis}, due on {request.due}. It selects: "
        + "; ".join(f"`{selector.summary}`" for selector in request.selectors)
        + ".",
        f"Splits: {', '.join(f'{count} {split}' for split, count in found.by_split.items())}."
        + (f" Pictures, on the machine that previewed it: `{shown.page}`." if shown.page else ""),
        "| class | samples |\n|-|-|\n" + "\n".join(_row(name, str(count)) for name, count in found.by_class.items()),
    ]
    for title, finding in (
        ("Near-duplicates: each stays unless you say yes", found.near_duplicates),
        ("Same captions, not selected", found.captions),
        ("Same concepts, not selected", found.concepts),
        ("Nearest neighbours, which must stay as they are", found.neighbours),
    ):
        lines.append(f"## {title}\n\n{'' if finding.total is None else f'{finding.total}: '}{finding.rule}")
        rows = [
            _row(
                one.sample_id,
                one.class_name,
                one.resembles,
                "" if one.score is None else f"{one.score:.3f}",
                one.reason or "",
            )
            for one in finding.shown
        ]
        if rows:
            lines.append("\n".join(["| sample | class | resembles | score | evidence |", "|-|-|-|-|-|", *rows]))
    return "\n\n".join(lines) + "\n"


def _row(*cells: str) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


@dataclass(frozen=True)
class Approved:
    """What an approval takes along.

    Attributes:
        taken: ids of near-duplicates that are forgotten too.
        left_out: ids of those that the preview showed and nobody said yes to.
        looked: whether somebody has looked for near-duplicates at all.
    """

    taken: frozenset[str]
    left_out: frozenset[str]
    looked: bool


def approve(desk: Desk, request_id: str, by: str | None, include: Collection[str] | None) -> Approved:
    """Approve a request with the near-duplicates `include`, or with all that the preview showed where it is None.

    Raises:
        ExpungeError: the last preview did not show one of them, no release could serve the request, or it is decided
            already.
    """
    record = desk.ledger.get(request_id)
    shown = record.shown_near_duplicates
    seen = frozenset(one.sample_id for one in shown or ())
    taken = seen if include is None else frozenset(include)
    if strangers := sorted(taken - seen):
        raise ExpungeError(f"The last preview of {request_id} showed no near-duplicate {strangers[0]!r}.")
    chosen = tuple(one for one in shown or () if one.sample_id in taken)
    _check_servable(desk, record, chosen)
    desk.ledger.approve(request_id, by, chosen, sorted(seen - taken))
    return Approved(taken, seen - taken, shown is not None)


def reject(desk: Desk, request_id: str, by: str | None, reason: str) -> None:
    """Reject a request for `reason`, and remove its page of pictures.

    Raises:
        ExpungeError: it is decided already, or there is no reason.
    """
    desk.ledger.reject(request_id, by, reason)
    discard_pages(desk.paths, [request_id])


def _check_servable(desk: Desk, record: Record, near_duplicates: tuple[LikeSample, ...]) -> None:
    """Refuse to approve what no release could serve: nothing or everything is selected.

    A request that is decided already is left for the ledger to refuse, whatever it selects by now.
    """
    if record.state in FORWARD["approved"]:
        request = record.request.model_copy(update={"near_duplicates": near_duplicates})
        select(desk.catalog, [request], "preview", desk.forgotten, desk.text_scores, desk.subject_digest)
