"""The review flow: a request's preview as an artifact, and a form in Prefect's pages that decides on it.

    prefect deployment run review/requests --param request_id=req-0003

The run is suspended until somebody fills in the form (button *Resume*), and holds no worker meanwhile. Pictures are not
sent to Prefect: the page of the preview, on this machine, has them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Literal

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from prefect.flow_runs import suspend_flow_run
from prefect.input import RunInput
from prefect.runtime import flow_run
from pydantic import Field, create_model

from expunge.intake.desk import Desk
from expunge.intake.review import approve, look, preview_markdown, reject
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.requests.events import FORWARD
from expunge.requests.request import LikeSample, one_line

KEY = "decision"


class Decision(RunInput):
    """What every form asks; a form has one more question for each near-duplicate."""

    decision: Literal["approve", "reject"] = Field(title="Decision")
    by: str = Field(title="Your name", description="It is kept in the ledger.", min_length=1, max_length=200)
    reason: str = Field("", title="Reason", description="Why it is rejected, without personal data.", max_length=500)


@flow(name="review", flow_run_name="review-{request_id}", persist_result=True)
def requests(request_id: str) -> str:
    """Show what a request would delete, wait for a person, and record the decision; returns the request's state.

    Args:
        request_id: such as req-0003.

    Raises:
        ExpungeError: there is no such request, it is decided already, or the decision cannot be recorded.
    """
    logger = get_run_logger()
    desk = Desk(Paths())
    record = desk.ledger.get(request_id)
    if record.state not in FORWARD["approved"]:
        raise ExpungeError(f"{request_id} is {record.state}; there is nothing to decide.")
    text = f"Preview of {request_id}; see the artifact of this run."
    # A run that goes on after the form starts from the top again; what its form asked about is in the ledger.
    if (flow_run.run_count or 1) == 1:
        shown = look(desk, request_id, "prefect")
        text = preview_markdown(shown, desk.ledger.get(request_id))
        create_markdown_artifact(text, key=f"preview-{request_id}", description=f"What {request_id} would delete")
    duplicates = desk.ledger.get(request_id).shown_near_duplicates or ()
    form = form_for(duplicates).with_initial_data(description=text, reason="")
    answer: Any = suspend_flow_run(wait_for_input=form, key=KEY)
    by = one_line(answer.by.strip(), "Your name")
    if not by:
        raise ExpungeError("A decision needs a name; start the review again.")
    if answer.decision == "reject":
        reject(desk, request_id, by, answer.reason)
    else:
        taken = [one.sample_id for one in duplicates if getattr(answer, field_of(one.sample_id))]
        approve(desk, request_id, by, taken)
    state = desk.ledger.get(request_id).state
    logger.info("%s is %s, by %s.", request_id, state, by)
    return state


def form_for(duplicates: Sequence[LikeSample]) -> type[RunInput]:
    """A form with a yes or no for each near-duplicate, no by default."""
    fields: dict[str, Any] = {
        field_of(one.sample_id): (
            bool,
            Field(False, title=f"Forget {one.sample_id} too", description=one.reason),
        )
        for one in duplicates
    }
    return create_model("Decision", __base__=Decision, **fields)


def field_of(sample_id: str) -> str:
    """The form's name for a near-duplicate. It comes from the sample, so an answer to another preview's form fails."""
    return f"sample_{hashlib.sha256(sample_id.encode()).hexdigest()[:12]}"
