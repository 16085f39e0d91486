"""The audit flow, every day: it fails, for all to see, when a promise is broken."""

from __future__ import annotations

import sys

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.proof.audit import Audited, markdown
from expunge.proof.audit import audit as find
from expunge.repair.states import AUDIT
from expunge.requests.ledger import Ledger
from expunge.settings import load_params


@flow(name="audit")
def audit() -> None:
    """Look for states that stop the project, at the ledger, the due dates and the live model; report as an artifact.

    Raises:
        ExpungeError: something stops the project, a request is overdue or not honoured, or the ledger was changed.
    """
    logger = get_run_logger()
    paths = Paths()
    params = load_params(paths.params)
    findings = find(Audited(paths, params, Ledger.open(params.ledger, paths.root)), AUDIT)
    create_markdown_artifact(markdown(findings), key="audit", description="Broken promises, and those soon due")
    for finding in findings:
        log = logger.error if finding.severity == "failure" else logger.warning
        log("%s: %s (days left: %s)", finding.subject, finding.problem, finding.days_left)
    failed = sorted({finding.subject for finding in findings if finding.severity == "failure"})
    if failed:
        raise ExpungeError(f"The audit found what must not be: {', '.join(failed)}; see its artifact.")


def main() -> None:
    """Run the flow once in this process: `python -m flows.audit`."""
    try:
        audit()
    except ExpungeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
