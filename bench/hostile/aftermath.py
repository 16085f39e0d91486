"""What must be true after a kill or a race, once the work was done again: nothing lost, doubled or stuck."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

from bench.hostile import worker
from bench.hostile.scene import Scene
from expunge.proof.project import verify_project
from expunge.releases.chain import chain, is_finished, is_purged, live_release, load_release
from expunge.repair.states import blocking


def faults(scene: Scene, jobs: Iterable[str], number: int, acknowledged: Iterable[str]) -> list[str]:
    """What is wrong after `jobs`, of which some were cut short or refused, and after each was done once more."""
    said = list(acknowledged)
    found = [text for text in said if text.startswith("failed:")]
    found += _lost(scene, said)
    jobs = list(jobs)
    for state in blocking(scene.site):
        if state.command == "expunge release" and "release" in jobs:
            continue  # the job below is that command
        if state.mend is None:
            found.append(f"stuck: {state.problem}")
            continue
        try:
            state.mend("campaign")
        except Exception as error:  # whatever it is, the state is still there
            found.append(f"not mended: {state.problem} {type(error).__name__}: {error}")
    for job in jobs:
        try:
            worker.do(scene, job, number)
        except Exception as error:  # whatever stops the second attempt is a fault
            return [*found, f"{job}, again: {type(error).__name__}: {error}"]
    return [*found, *_lost(scene, said), *_doubled(scene), *_unfinished(scene, jobs), *_unsound(scene)]


def _lost(scene: Scene, said: Iterable[str]) -> list[str]:
    states = {record.request.request_id: record.state for record in scene.ledger.records()}
    found = [f"{text} is lost" for text in said if text.startswith("req-") and text not in states]
    approved = [text.removeprefix("approved ") for text in said if text.startswith("approved ")]
    found += [f"approval of {one} is lost" for one in approved if states.get(one) in (None, "received", "previewed")]
    names = [text.removeprefix("released ") for text in said if text.startswith("released ")]
    return found + [f"release {name} is lost" for name in names if not is_finished(scene.paths, name)]


def _doubled(scene: Scene) -> list[str]:
    records = scene.ledger.records()
    references = Counter(one.request.external_reference for one in records if one.request.external_reference)
    found = [f"{reference} is there {times} times" for reference, times in references.items() if times > 1]
    frozen = [load_release(scene.paths, name).requests for name in chain(scene.paths) if name != "base"]
    served = Counter(request.request_id for requests in frozen for request in requests)
    return found + [f"{request} is served {times} times" for request, times in served.items() if times > 1]


def _unfinished(scene: Scene, jobs: Iterable[str]) -> list[str]:
    live, found = live_release(scene.paths), []
    if "release" in jobs and not (live == "r002" and is_finished(scene.paths, live)):
        found.append(f"{live} is live, and r002 is not finished")
    if "purge" in jobs and not is_purged(scene.paths, "base"):
        found.append("r001 is not purged")
    if "import" in jobs and not list((scene.root / "data" / "requests" / "done").glob("K*.json")):
        found.append("the file has no receipt")
    return found


def _unsound(scene: Scene) -> list[str]:
    found = [f"blocked: {state.problem}" for state in blocking(scene.site)]
    problems = verify_project(scene.paths, scene.site.params).problems
    return found + [f"verify: {one.where} {one.what} {one.found}" for one in problems[:3]]
