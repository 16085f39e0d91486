"""The release flow: select → unlearn → re-embed → re-index → evaluate → register.

`expunge release` runs it at once, a deployment runs it on a schedule; either way each task reproduces a DVC stage, so
`dvc repro` by hand gives the same files.
"""

from __future__ import annotations

import contextlib
import sys
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact, create_progress_artifact, update_progress_artifact
from prefect.runtime import flow_run
from prefect.states import Failed, State

from expunge.lineage.dvc.fold import fold
from expunge.lineage.git import tracked_files
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import is_finished, live_release, load_release, next_name
from expunge.releases.cut import cut_planned
from expunge.releases.plan import drop_withdrawn, plan
from expunge.releases.release import Release
from expunge.repair.index_page import write_index
from expunge.requests.ledger import Ledger
from expunge.selection.forget import check_can_be_judged, forget_rows
from expunge.settings import load_params
from flows.notices import GATE_FAILED, tell
from tasks import steps


def run_name() -> str:
    """What the run is called: the release that it makes."""
    paths = Paths()
    given = flow_run.parameters.get("name")
    try:
        live = live_release(paths)
        unfinished = live if live != BASE and not is_finished(paths, live) else None
        return f"release {given or unfinished or next_name(paths)}"
    except ExpungeError:
        return "release"


@flow(name="release", flow_run_name=run_name)
def release(method: str | None = None, name: str | None = None) -> dict[str, Any] | State[Any] | None:
    """Cut a release from all approved, unserved requests, and those that the live model no longer honours, and run it.

    A release that an earlier run left unfinished is finished instead, unless one of its requests was withdrawn: then it
    is cut anew without it. Returns the digests of every step's outputs, or
    None where nothing is approved. A run that cannot go on, or whose release failed its gate, ends as failed with one
    sentence that says what to do.

    Args:
        method: unlearning method; those of `release.methods` of params.yaml, in turn, by default.
        name: the release's name; the next number by default.
    """
    paths = Paths()
    try:
        return _release(paths, method, name)
    except ExpungeError as error:
        return Failed(message=str(error))
    finally:
        _show(paths)


def _show(paths: Paths) -> None:
    """Write the index and say its first line; what stops that stops the release as well, and is said there."""
    with contextlib.suppress(ExpungeError):
        get_run_logger().info("%s", write_index(paths, load_params(paths.params)).first.line)


def _release(paths: Paths, method: str | None, name: str | None) -> dict[str, Any] | None:
    logger = get_run_logger()
    params = load_params(paths.params)
    ledger = Ledger.open(params.ledger, paths.root)
    if dropped := drop_withdrawn(paths, ledger):
        logger.info("Release %s held a withdrawn request; it is cut anew without it.", dropped)
    chosen, *fallbacks = [method] if method else params.release.methods
    cut = None
    while cut is None:  # what another flow cut meanwhile is seen in the next round
        todo = plan(paths, ledger)
        if todo.unfinished:
            logger.info("Release %s was not finished; finishing it.", todo.unfinished)
            unfinished = load_release(paths, todo.unfinished)
            steps.parent(unfinished.parent)
            return _run(unfinished)
        if not todo.requests:
            logger.info("No approved request is waiting; nothing was done.")
            return None
        if todo.again:
            logger.info("Served again, for no live release honours them: %s.", ", ".join(todo.again))
        steps.parent(todo.live)
        inherited, chosen_rows = forget_rows(paths, todo.requests, name or next_name(paths), todo.live)
        check_can_be_judged(paths, [*inherited, *chosen_rows])
        cut = cut_planned(paths, ledger, todo, chosen, params.release.gold, name, fallbacks)
    logger.info("Release %s serves %s.", cut.release, ", ".join(request.request_id for request in cut.requests))
    return _run(cut)


def _run(description: Release) -> dict[str, Any]:
    name = description.release
    after = (steps.unlearn, steps.embed, steps.index, steps.evaluate, steps.report, steps.register)
    # The gold standard comes before unlearning, since a ladder of methods is judged by it.
    order = [steps.select, *([steps.gold] if description.gold else []), *after]
    digests = {}
    done = create_progress_artifact(0.0, key=f"release-{name}-progress", description=f"Steps of release {name}")
    for number, step in enumerate(order, 1):
        digests[step.name] = step(name)
        update_progress_artifact(done, 100 * number / (len(order) + 1))
    steps.live()
    update_progress_artifact(done, 100.0)
    metrics = read_json(Paths().release(name).metrics)
    create_markdown_artifact(_summary(metrics), key=f"release-{name}", description=f"Verdict of release {name}")
    failed = [check["name"] for check in metrics["gate"]["checks"] if not check["passed"]]
    if failed:
        unserved = ", ".join(metrics["requests"])
        problem = f"Release {name} failed its gate ({', '.join(failed)}); {unserved} are not served."
        tell(GATE_FAILED, "release", name, problem, "expunge repair")
        raise ExpungeError(
            f"{problem} Next: `expunge repair --yes`, then `expunge release --method NAME` with another method "
            f"(`retrain` is the surest). Or edit releases/{name}/release.yaml and run `dvc repro`."
        )
    if folded := fold(Paths(), tracked_files(Paths().root)):
        get_run_logger().info("%s left the pipeline; DVC keeps what they made.", ", ".join(folded))
    return {"release": name, "diagnosis": metrics["diagnosis"], "digests": digests}


def _summary(metrics: dict[str, Any]) -> str:
    rows = [
        f"| {check['name']} | {'passed' if check['passed'] else '**failed**'} | {check['value']:.3f} "
        f"| {check['limit']:.3f} |"
        for check in metrics["gate"]["checks"]
    ]
    verdict = "passed" if metrics["gate"]["passed"] else "failed"
    head = f"# Release {metrics['release']}: {metrics['diagnosis']}, gate {verdict}\n\nRequests: "
    table = ["| check | result | value | limit |", "|-|-|-|-|", *rows]
    where = f"Report: `reports/{metrics['release']}/report.html`; all requests: `reports/index.html`."
    return "\n".join([head + ", ".join(metrics["requests"]), "", where, "", *table])


def main() -> None:
    """Run the flow once in this process: `python -m flows.release [METHOD [NAME]]`."""
    method, name = (*sys.argv[1:], "", "")[:2]
    state = release(method or None, name or None, return_state=True)
    if not state.is_completed():
        print(f"Error: {state.message}", file=sys.stderr)
        raise SystemExit(1)


if __name__ == "__main__":
    main()
