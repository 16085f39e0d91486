"""Where the project stands, for `expunge status`, the audit, the nightly flow and the index alike.

All of them begin with the same line: the most urgent thing that waits for a person, why, and the command that ends it.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from expunge.evaluation.metrics import ReleaseMetrics, read_metrics
from expunge.lineage.dvc.stages import running_stages
from expunge.project.clock import utc_now
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.proof.audit import Audited, deadlines, honoured_by_the_live_model
from expunge.releases.chain import chain, honoured_requests, is_purged, served_requests
from expunge.releases.registration import registered
from expunge.repair.state import BlockingState, Site
from expunge.repair.states import blocking
from expunge.requests.ledger import Ledger
from expunge.settings import Params

Tone = Literal["failure", "warning", "note", "good"]
TONES: tuple[Tone, ...] = ("failure", "warning", "note", "good")


@dataclass(frozen=True)
class Notice:
    """One thing that a person should know.

    Attributes:
        subject: what it is about: a release, requests, the ledger.
        text: what is wrong or waits, and why, as a sentence.
        command: what ends it; empty where nothing has to be done.
    """

    tone: Tone
    subject: str
    text: str
    command: str = ""

    @property
    def line(self) -> str:
        """As one line of text."""
        return f"{self.subject}: {self.text}" + (f" Next: `{self.command}`." if self.command else "")


@dataclass(frozen=True)
class ReleaseLine:
    """One release of the chain; `requests` are those that it froze."""

    release: str
    requests: list[str]
    method: str | None
    verdict: str


@dataclass(frozen=True)
class RequestState:
    """One request of the ledger; `days_left` only while it is open, `honoured_by` only once it was released."""

    request_id: str
    state: str
    due: str
    days_left: int | None
    released_by: str | None
    honoured_by: str | None


@dataclass(frozen=True)
class Overview:
    """Where the project stands.

    Attributes:
        notices: the most urgent first; never empty.
        waiting: approved requests that no release serves.
        today: the day that days are counted from.
    """

    notices: list[Notice]
    releases: list[ReleaseLine]
    requests: list[RequestState]
    waiting: list[str] = field(default_factory=list)
    today: str = ""

    @property
    def first(self) -> Notice:
        """What is to be said before anything else."""
        return self.notices[0]

    @property
    def open(self) -> list[RequestState]:
        """Requests that are not decided or not served, the most urgent first."""
        found = [one for one in self.requests if one.days_left is not None]
        return sorted(found, key=lambda one: (one.days_left or 0, one.request_id))

    @property
    def lost(self) -> list[RequestState]:
        """Requests that were served once and are not honoured by the live model."""
        return [one for one in self.requests if one.released_by and not one.honoured_by]

    def as_dict(self) -> dict[str, Any]:
        """For machines."""
        return {"first": asdict(self.first)} | asdict(self)


def overview(paths: Paths, params: Params, proves: bool = False) -> Overview:
    """Look at the chain, the ledger and every state that stops the project; nothing is changed.

    Files are taken to be what is recorded of them, unless it `proves`.

    A ledger that cannot be read is a notice as well, and the chain is shown without its requests' states.

    Raises:
        ExpungeError: the settings or the chain of releases cannot be read.
    """
    served, honoured = served_requests(paths), honoured_requests(paths)
    releases = [_release(paths, name, served) for name in chain(paths)]
    try:
        ledger = Ledger.open(params.ledger, paths.root)
        records = ledger.records()
    except ExpungeError as error:
        notices = [_of_state(state) for state in blocking(Site(paths, params, proves))]
        notices = notices or [Notice("failure", "ledger", str(error))]
        return Overview(sorted(notices, key=_urgency), releases, [], [], str(utc_now().date()))
    waiting = [request.request_id for request in ledger.approved_unserved() if request.request_id not in served]
    requests = [
        RequestState(
            request_id=record.request.request_id,
            state=record.state,
            due=str(record.request.due),
            days_left=record.days_left(ledger.today) if record.is_open else None,
            released_by=record.release,
            honoured_by=honoured.get(record.request.request_id) if record.release else None,
        )
        for record in records
    ]
    notices = _notices(Audited(paths, params, ledger), proves, waiting, requests)
    return Overview(notices, releases, requests, waiting, str(ledger.today))


def _notices(audited: Audited, proves: bool, waiting: list[str], requests: list[RequestState]) -> list[Notice]:
    states = blocking(Site(audited.paths, audited.params, proves))
    found = [_of_state(state) for state in states]
    for one in deadlines(audited):
        left = one.days_left or 0
        when = f"{-left} days overdue" if left < 0 else ("due today" if left == 0 else f"due in {left} days")
        state = one.problem.partition(" ")[0]
        found.append(Notice(one.severity, one.subject, f"It is {state} and {when}.", _step(one.subject, state)))
    lost = [one.subject for one in honoured_by_the_live_model(audited)]
    if lost:
        text = "No longer honoured by the live model, though a release has served them."
        found.append(Notice("failure", ", ".join(lost), text, "expunge release"))
    if running := running_stages(audited.paths):
        release, stage = running[-1]
        text = f"Its stage {stage} runs; DVC holds the files that it writes, so `dvc status` fails until it ends."
        found.append(Notice("note", release, text, "expunge dag"))
    if waiting:
        found.append(
            Notice("note", ", ".join(waiting), "Approved, and waiting for the next release.", "expunge release")
        )
    undecided = [one for one in requests if one.state in ("received", "previewed")]
    if undecided:
        first = min(undecided, key=lambda one: (one.days_left or 0, one.request_id))
        named = ", ".join(one.request_id for one in undecided)
        found.append(Notice("note", named, "Waiting for a decision.", _step(first.request_id, first.state)))
    if not found:
        found.append(Notice("good", "Nothing waits", "No request is open, and nothing stops the project."))
    return sorted(found, key=_urgency)


def _of_state(state: BlockingState) -> Notice:
    return Notice(state.severity, state.subject, state.problem, state.command)


def _urgency(notice: Notice) -> int:
    return TONES.index(notice.tone)


def _step(request_id: str, state: str) -> str:
    """What moves a request on from a state."""
    return {
        "received": f"expunge request preview {request_id}",
        "previewed": f"expunge request approve {request_id}",
    }.get(state, "expunge release")


def _release(paths: Paths, name: str, served: dict[str, str]) -> ReleaseLine:
    where = paths.release(name)
    if where.registration.is_file():
        verdict: str = registered(paths, name).verdict
    else:
        verdict = "purged" if is_purged(paths, name) else "unfinished"
    metrics = read_metrics(where.metrics) if where.metrics.is_file() else None
    method = metrics.method if isinstance(metrics, ReleaseMetrics) else None
    requests = sorted(request for request, server in served.items() if server == name)
    return ReleaseLine(name, requests, method, verdict)
