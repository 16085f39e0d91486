"""The task of the intake flow."""

from __future__ import annotations

from prefect import task
from prefect.cache_policies import NO_CACHE
from prefect.states import State

from expunge.intake.desk import Desk
from expunge.intake.submissions import Submission, receive
from expunge.project.errors import RequestRefused
from expunge.project.paths import Paths
from expunge.requests.request import DeletionRequest


def _ledger_was_in_trouble(_task: object, _run: object, state: State) -> bool:
    """Whether another attempt may help; a reference makes it harmless."""
    try:
        state.result()
    except RequestRefused:
        return False
    except Exception:
        return True
    return False


@task(
    name="record",
    cache_policy=NO_CACHE,
    retries=3,
    retry_delay_seconds=[10, 60, 300],
    retry_condition_fn=_ledger_was_in_trouble,
)
def record(submission: Submission) -> DeletionRequest:
    """Check one submission and write it into the ledger."""
    desk = Desk(Paths())
    [request] = receive([submission], desk.ledger, desk.check, by="intake")
    return request
