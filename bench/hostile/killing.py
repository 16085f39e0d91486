"""Kills at random moments of intake, approval, cut, registration, repair and backup; then the work is done again."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import time
from collections import Counter
from typing import Any

from bench.hostile.scene import ROOT, Scene, fresh_copies, scene_at
from expunge.proof.project import verify_project
from expunge.releases.chain import chain, is_finished, live_release, load_release
from expunge.repair.states import blocking

WORKER = "bench.hostile.worker"
JOBS = ("intake", "approve", "release", "backup", "import")
LONGEST = 0.6
"""Seconds of work within which a kill falls; starting Python is not counted."""


def rows(scene: Scene, count: int, draw: random.Random) -> list[dict[str, Any]]:
    """Start a job, kill it at a random moment, look at what is left, finish the job."""
    tried: Counter[str] = Counter()
    failures: dict[str, list[str]] = {job: [] for job in JOBS}
    landed = 0
    fresh = fresh_copies(scene)
    for number in range(count):
        fresh(number)
        job = JOBS[number % len(JOBS)]
        tried[job] += 1
        acknowledged, killed = _killed(scene, job, number, draw.uniform(0, LONGEST))
        landed += killed
        failures[job] += [f"{number}: {reason}" for reason in _faults(scene, job, number, acknowledged)]
    return [
        {
            "part": "kills",
            "what": f"kills during {job}: nothing lost, doubled or stuck",
            "tried": tried[job],
            "held": tried[job] - len({entry.partition(":")[0] for entry in failures[job]}),
            "failed": len({entry.partition(":")[0] for entry in failures[job]}),
            "places": failures[job],
            "landed": landed,
        }
        for job in JOBS
        if tried[job]
    ]


def _killed(scene: Scene, job: str, number: int, after: float) -> tuple[list[str], bool]:
    """Request ids that the job acknowledged before it was killed, and whether the kill came in time."""
    command = [sys.executable, "-m", WORKER, str(scene.root), job, str(number)]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=ROOT)
    assert process.stdin
    assert process.stdout
    assert process.stdout.readline().strip() == "ready"
    process.stdin.write("go\n")
    process.stdin.flush()
    time.sleep(after)
    process.send_signal(signal.SIGKILL)
    said = process.communicate()[0].split()
    return said, process.returncode == -signal.SIGKILL


def _faults(scene: Scene, job: str, number: int, acknowledged: list[str]) -> list[str]:
    """What is lost, doubled or stuck after the kill and after one more attempt, which must succeed."""
    from bench.hostile import worker

    faults = []
    known = {record.request.request_id for record in scene.ledger.records()}
    faults += [f"{request} is lost" for request in acknowledged if request.startswith("req-") and request not in known]
    for state in blocking(scene.site):
        if state.command == "expunge release":
            continue  # the job below is that command
        if state.mend is None:
            faults.append(f"stuck: {state.problem}")
        else:
            state.mend("campaign")
    again = scene_at(scene.root)
    try:
        worker.do(again, job, number)
    except Exception as error:  # whatever stops the second attempt is a fault
        return [*faults, f"{type(error).__name__}: {error}"]
    references = Counter(
        record.request.external_reference for record in again.ledger.records() if record.request.external_reference
    )
    faults += [f"{reference} is there {times} times" for reference, times in references.items() if times > 1]
    served = Counter(
        request.request_id
        for name in chain(again.paths)
        if name != "base"
        for request in load_release(again.paths, name).requests
    )
    faults += [f"{request} is served {times} times" for request, times in served.items() if times > 1]
    live = live_release(again.paths)
    if job == "release" and not (live != "base" and is_finished(again.paths, live)):
        faults.append(f"{live} is not finished")
    faults += [f"blocked: {state.problem}" for state in blocking(again.site)]
    problems = verify_project(again.paths, again.site.params).problems
    return faults + [f"verify: {problem.where} {problem.found}" for problem in problems[:3]]
