"""The intake flow: how another system hands in a request through Prefect's API.

    prefect deployment run intake/requests --param external_reference=T-17 --param basis=gdpr-art17 \\
        --param 'selectors=[{"kind": "subject", "subject_id": "s-0042"}]'

Prefect keeps parameters in clear, so who asks is given as a keyed digest (`expunge request digest`) or not at all.
"""

from __future__ import annotations

from datetime import date
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact
from pydantic import ValidationError

from expunge.intake.submissions import Submission
from expunge.project.errors import RequestRefused
from expunge.project.schema import explain
from expunge.requests.request import Basis
from tasks.intake import record


@flow(name="intake")
def requests(
    external_reference: str,
    selectors: list[dict[str, Any]],
    basis: Basis,
    requester_digest: str | None = None,
    due: date | None = None,
    note: str | None = None,
) -> str:
    """Record a request and return its id; the same reference again gives the same id.

    Args:
        external_reference: the sender's own name for the request.
        selectors: as in the ledger, for example {"kind": "class", "class_name": "food-fruit"}.
        requester_digest: HMAC-SHA256 of who asks, under the ledger's key.
        due: one month after receipt by default.
        note: a remark without personal data.

    Raises:
        RequestRefused: a value is not valid, nothing is selected, or the reference names another request.
    """
    try:
        submission = Submission.model_validate(
            {
                "external_reference": external_reference,
                "selectors": selectors,
                "basis": basis,
                "requester_digest": requester_digest,
                "due": due,
                "note": note,
            }
        )
    except ValidationError as error:
        raise RequestRefused(f"Submission: {explain(error, values=False)}") from None
    request = record(submission)
    get_run_logger().info("Recorded as %s, due on %s.", request.request_id, request.due)
    create_markdown_artifact(f"{request.request_id}, due on {request.due}", key=request.request_id)
    return request.request_id
