"""The audit flow, every day: it fails, for all to see, when a promise is broken."""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.states import Failed, State

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.proof.audit import Audited, Finding, markdown
from expunge.proof.audit import audit as find
from expunge.repair.index_page import write_index
from expunge.repair.overview import Overview, overview
from expunge.repair.states import AUDIT
from expunge.requests.ledger import Ledger
from expunge.settings import load_params
from flows.notices import AUDIT_FAILED, REQUEST_OVERDUE, tell


@flow(name="audit", flow_run_name="audit of the project")
def audit() -> str | State[Any]:
    """Look for states that stop the project, at the ledger, the due dates and the live model; report as artifacts.

    The run fails with one sentence that names what must not be: something stops the project, a request is overdue or
    not honoured, or the ledger was changed. Each overdue request is an event as well. Returns one sentence that says
    that nothing was found.
    """
    logger = get_run_logger()
    paths = Paths()
    try:
        params = load_params(paths.params)
        ledger = Ledger.open(params.ledger, paths.root)
        findings = find(Audited(paths, params, ledger), AUDIT)
        found = write_index(paths, params, overview(paths, params, proves=True))
    except ExpungeError as error:
        return Failed(message=str(error))
    logger.info("%s", found.first.line)
    create_markdown_artifact(_page(found, findings), key="audit", description="Broken promises, and those soon due")
    rows = [
        {"request": one.request_id, "state": one.state, "due": one.due, "days left": one.days_left}
        for one in found.open
    ]
    create_table_artifact(rows, key="open-requests", description="Open requests, the most urgent first")
    for finding in findings:
        log = logger.error if finding.severity == "failure" else logger.warning
        log("%s: %s (days left: %s)", finding.subject, finding.problem, finding.days_left)
        if finding.days_left is not None and finding.days_left < 0:
            tell(REQUEST_OVERDUE, "request", finding.subject, finding.problem, "expunge status")
    failed = sorted({finding.subject for finding in findings if finding.severity == "failure"})
    if failed:
        tell(AUDIT_FAILED, "project", paths.root.resolve().name, found.first.line, found.first.command)
        return Failed(message=f"The audit found what must not be: {', '.join(failed)}; see its artifact.")
    return f"Nothing is broken; {len(findings)} warnings."


def _page(found: Overview, findings: list[Finding]) -> str:
    return f"**{found.first.line}**\n\n{markdown(findings)}"


def main() -> None:
    """Run the flow once in this process: `python -m flows.audit`."""
    state = audit(return_state=True)
    if not state.is_completed():
        print(f"Error: {state.message}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
