"""The audit: it fails where a promise is broken, warns before, and tells nothing of what is to be forgotten."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
from datetime import UTC, date, datetime
from pathlib import Path
from types import SimpleNamespace

import pytest

from expunge.lineage.settings import MlflowParams
from expunge.project.errors import ExpungeError
from expunge.project.library import acknowledge
from expunge.project.paths import Paths
from expunge.proof.audit import Audited, Finding, audit, markdown
from expunge.releases.cut import create_release
from expunge.requests.ledger import Ledger
from expunge.requests.settings import LedgerParams
from registered import write_registration

pytestmark = pytest.mark.slow

SECRET = [{"kind": "class", "class_name": "drum"}]
NOON = datetime(2026, 3, 31, 12, tzinfo=UTC)


@pytest.fixture
def audited(tmp_path: Path) -> Audited:
    """An empty ledger, and no release yet."""
    paths = Paths(tmp_path)
    paths.live.parent.mkdir()
    paths.live.write_text("live: base\n")
    acknowledge(paths)
    params = SimpleNamespace(ledger=LedgerParams(seed=None, warn_days=5), mlflow=MlflowParams())
    return Audited(paths, params, Ledger.open(params.ledger, tmp_path, clock=lambda: NOON))


def at(audited: Audited, moment: datetime) -> Audited:
    ledger = Ledger.open(audited.params.ledger, audited.paths.root, clock=lambda: moment)
    return Audited(audited.paths, audited.params, ledger)


def approved(ledger: Ledger, due: date | None = None) -> str:
    request = ledger.add(SECRET, "safety", due=due, requester="Erika", note="a remark")
    ledger.approve(request.request_id, "tests")
    return request.request_id


def served(audited: Audited, *requests: str) -> str:
    """A release that serves the requests, passed its gate, and is live."""
    ledger = audited.ledger
    release = create_release(audited.paths, [ledger.get(one).request for one in requests], "cliperase", gold=False)
    write_registration(audited.paths, release.release, "passed")
    ledger.mark_released(requests, release.release, "aa")
    return release.release


def test_open_requests_are_warned_of_and_then_overdue(audited: Audited) -> None:
    ledger = audited.ledger
    overdue, soon, far, done, withdrawn = (
        approved(ledger, due) for due in (None, date(2026, 5, 6), date(2026, 5, 7), None, None)
    )
    ledger.withdraw(withdrawn, reason="asked to stay")
    served(audited, done)
    assert audit(audited) == []
    findings = audit(at(audited, datetime(2026, 5, 1, tzinfo=UTC)))
    assert [(one.severity, one.subject, one.days_left) for one in findings] == [
        ("failure", overdue, -1),
        ("warning", soon, 5),
    ]
    assert far not in markdown(findings)
    assert "| failure | req-0001 | 1 overdue | approved and overdue |" in markdown(findings)
    assert not any(word in markdown(findings) for word in ("drum", "Erika", "remark"))


def test_a_request_is_due_on_its_last_day_and_not_overdue(audited: Audited) -> None:
    approved(audited.ledger)
    for moment, expected in (
        (datetime(2026, 4, 30, 23, 59, tzinfo=UTC), ("warning", 0)),
        (datetime(2026, 5, 1, tzinfo=UTC), ("failure", -1)),
    ):
        [finding] = audit(at(audited, moment))
        assert (finding.severity, finding.days_left) == expected


def test_a_changed_ledger_is_found_and_the_other_checks_go_on(audited: Audited) -> None:
    approved(audited.ledger, date(2026, 4, 1))
    with sqlite3.connect(audited.paths.root / "data" / "ledger.db") as connection:
        connection.execute("UPDATE events SET at = '2020-01-01T00:00:00Z' WHERE seq = 2")
    broken, soon = audit(audited)
    assert (broken.severity, broken.subject) == ("failure", "unbroken ledger")
    assert "broken at event 2" in broken.problem
    assert (soon.severity, soon.subject) == ("warning", "req-0001")


def test_a_ledger_that_lost_its_last_events_is_found_although_its_chain_holds_and_takes_no_more(
    audited: Audited,
) -> None:
    approved(audited.ledger)
    assert audit(audited) == []
    with sqlite3.connect(audited.paths.root / "data" / "ledger.db") as connection:
        connection.execute("DELETE FROM events WHERE seq = 2")
    with pytest.raises(ExpungeError, match="cut off"):
        audited.ledger.withdraw("req-0001", reason="a forger's")
    for _ in range(2):
        [finding] = audit(audited)
        assert (finding.severity, finding.subject) == ("failure", "unbroken ledger")


def test_a_request_that_the_live_model_does_not_honour_is_found(audited: Audited) -> None:
    request = approved(audited.ledger)
    release = served(audited, request)
    assert audit(audited) == []
    audited.paths.live.write_text("live: base\n")
    [finding] = audit(audited)
    assert (finding.severity, finding.subject) == ("failure", request)
    audited.paths.live.write_text(f"live: {release}\n")
    write_registration(audited.paths, release, "failed")
    assert [one.subject for one in audit(audited)] == [request]


def test_a_check_that_cannot_be_made_is_a_failure_of_its_own(audited: Audited) -> None:
    def lost_aliases(_: Audited) -> list[Finding]:
        raise ExpungeError("MLflow cannot be reached.")

    assert audit(audited, [lost_aliases]) == [Finding("failure", "lost aliases", "MLflow cannot be reached.")]


def test_the_flow_fails_with_an_artifact_that_names_ids_and_days(
    audited: Audited, prefect_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    from prefect import get_client
    from prefect.client.schemas.filters import ArtifactFilter, ArtifactFilterKey

    import flows.audit as module

    root = audited.paths.root
    monkeypatch.chdir(root)
    monkeypatch.setattr(module, "load_params", lambda _: audited.params)
    told: list[tuple[str, ...]] = []
    monkeypatch.setattr(module, "tell", lambda *words: told.append(words))
    assert module.audit(return_state=True).is_completed()
    approved(audited.ledger)
    state = module.audit(return_state=True)
    assert (state.name, "req-0001" in state.message) == ("Failed", True)

    async def newest() -> str:
        async with get_client() as client:
            key = ArtifactFilter(key=ArtifactFilterKey(any_=["audit"]))
            return max(await client.read_artifacts(artifact_filter=key), key=lambda found: found.created).data

    text = asyncio.run(newest())
    assert text.startswith("**req-0001: It is approved and ")
    assert "| failure | req-0001 |" in text
    assert next((event, name) for event, _, name, *_ in told) == ("expunge.request.overdue", "req-0001")
    assert told[-1][0] == "expunge.audit.failed"
    assert "drum" not in text
    shutil.rmtree(root / ".expunge")
