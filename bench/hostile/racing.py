"""Races: several who cut at once, several who import the same files at once, and a repair beside a cut."""

from __future__ import annotations

import random
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from bench.hostile import worker
from bench.hostile.scene import SELECTORS, Scene, fresh_copies
from expunge.project.errors import ExpungeError
from expunge.project.files import write_json
from expunge.releases.chain import chain, load_release
from expunge.releases.cut import cut_planned
from expunge.releases.plan import plan
from expunge.repair.states import blocking

RUNNERS = 3


def rows(scene: Scene, count: int, draw: random.Random) -> list[dict[str, Any]]:
    """A third of the races each."""
    kinds = {"two flows cut": _cuts, "imports of the same files": _imports, "cut and repair": _cut_and_repair}
    failures: dict[str, list[str]] = {kind: [] for kind in kinds}
    tried: Counter[str] = Counter()
    fresh = fresh_copies(scene)
    for number in range(count):
        fresh(number)
        kind = list(kinds)[number % len(kinds)]
        tried[kind] += 1
        if fault := kinds[kind](scene, number) or _doubled(scene):
            failures[kind].append(f"{number}: {fault}")
    return [
        {
            "part": "races",
            "what": f"races, {kind}: each request once",
            "tried": tried[kind],
            "held": tried[kind] - len(failures[kind]),
            "failed": len(failures[kind]),
            "places": failures[kind],
        }
        for kind in kinds
        if tried[kind]
    ]


def _cuts(scene: Scene, number: int) -> str | None:
    _waiting(scene, number)
    seen = plan(scene.paths, scene.ledger)
    with ThreadPoolExecutor(RUNNERS) as pool:
        cuts = list(pool.map(lambda _: cut_planned(scene.paths, scene.ledger, seen, "x", False), range(RUNNERS)))
    made = [cut for cut in cuts if cut]
    worker.do(scene, "release", number)
    return None if len(made) == 1 else f"{len(made)} releases were cut"


def _imports(scene: Scene, number: int) -> str | None:
    asked: list[dict[str, Any]] = [
        {"external_reference": f"X-{number}-{part}", "selectors": SELECTORS, "basis": "safety"} for part in range(2)
    ]
    write_json(scene.root / "data" / "requests" / f"X{number}.json", asked)
    with ThreadPoolExecutor(RUNNERS) as pool:
        list(pool.map(lambda _: worker.do(scene, "import", number), range(RUNNERS)))
    found = scene.ledger.known_references([one["external_reference"] for one in asked])
    return None if len(found) == len(asked) else f"{len(found)} of {len(asked)} were recorded"


def _cut_and_repair(scene: Scene, number: int) -> str | None:
    _waiting(scene, number)
    seen = plan(scene.paths, scene.ledger)

    def mend(_: int) -> None:
        for state in blocking(scene.site):
            if state.mend:
                state.mend("campaign")

    with ThreadPoolExecutor(RUNNERS) as pool:
        cut = pool.submit(cut_planned, scene.paths, scene.ledger, seen, "x", False)
        list(pool.map(mend, range(RUNNERS - 1)))
    worker.do(scene, "release", number)
    return None if cut.result() else "nothing was cut"


def _waiting(scene: Scene, number: int) -> None:
    request = scene.ledger.add(SELECTORS, "safety", reference=f"W-{number}", by="clerk")
    if scene.ledger.get(request.request_id).state == "received":
        scene.ledger.approve(request.request_id, "officer")


def _doubled(scene: Scene) -> str | None:
    served = Counter(
        request.request_id
        for name in chain(scene.paths)
        if name != "base"
        for request in load_release(scene.paths, name).requests
    )
    twice = [request for request, times in served.items() if times > 1]
    try:
        scene.ledger.verify_chain()
    except ExpungeError as error:
        return str(error)
    stuck = [state.problem for state in blocking(scene.site)]
    return f"{twice} served twice" if twice else (stuck[0] if stuck else None)
