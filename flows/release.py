"""The release flow: select → unlearn → re-embed → re-index → evaluate → register.

`expunge release` runs it at once, a deployment runs it on a schedule; either way each task reproduces a DVC stage, so
`dvc repro` by hand gives the same files.
"""

from __future__ import annotations

import sys
from typing import Any

from prefect import flow, get_run_logger
from prefect.artifacts import create_markdown_artifact

from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.paths import Paths
from expunge.releases.chain import load_release, next_name
from expunge.releases.cut import cut_planned
from expunge.releases.plan import drop_withdrawn, plan
from expunge.releases.release import Release
from expunge.requests.ledger import Ledger
from expunge.selection.forget import forget_rows
from expunge.settings import load_params
from tasks import steps


@flow(name="release")
def release(method: str | None = None, name: str | None = None) -> dict[str, Any] | None:
    """Cut a release from all approved, unserved requests, and those that the live model no longer honours, and run it.

    A release that an earlier run left unfinished is finished instead, unless one of its requests was withdrawn: then it
    is cut anew without it. Returns the digests of every step's outputs, or
    None where nothing is approved.

    Args:
        method: unlearning method; those of `release.methods` of params.yaml, in turn, by default.
        name: the release's name; the next number by default.
    """
    logger = get_run_logger()
    paths = Paths()
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
        forget_rows(paths, todo.requests, name or next_name(paths), todo.live)
        cut = cut_planned(paths, ledger, todo, chosen, params.release.gold, name, fallbacks)
    logger.info("Release %s serves %s.", cut.release, ", ".join(request.request_id for request in cut.requests))
    return _run(cut)


def _run(description: Release) -> dict[str, Any]:
    name = description.release
    digests = {"select": steps.select(name)}
    if description.gold:  # before unlearning, since a ladder of methods is judged by it
        digests["gold"] = steps.gold(name)
    for step in (steps.unlearn, steps.embed, steps.index, steps.evaluate, steps.report, steps.register):
        digests[step.name] = step(name)
    steps.live()
    metrics = read_json(Paths().release(name).metrics)
    create_markdown_artifact(_summary(metrics), key=f"release-{name}", description=f"Verdict of release {name}")
    failed = [check["name"] for check in metrics["gate"]["checks"] if not check["passed"]]
    if failed:
        raise ExpungeError(
            f"Release {name} failed its gate ({', '.join(failed)}) and is registered as failed; its requests are not "
            f"served. Try another method: edit releases/{name}/release.yaml and run `dvc repro`, or run "
            "`expunge repair` and then `expunge release --method NAME`."
        )
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
    return "\n".join([head + ", ".join(metrics["requests"]), "", *table])


def main() -> None:
    """Run the flow once in this process: `python -m flows.release [METHOD [NAME]]`."""
    method, name = (*sys.argv[1:], "", "")[:2]
    try:
        release(method or None, name or None)
    except ExpungeError as error:
        print(f"Error: {error}", file=sys.stderr)
        raise SystemExit(1) from None


if __name__ == "__main__":
    main()
