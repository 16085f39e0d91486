"""What a campaign kills: one job of the desk or of the release flow on the stand-in project.

python -m bench.hostile.worker ROOT JOB NUMBER   prints `ready`, waits for a line, works, prints what it acknowledges
"""

from __future__ import annotations

import sys
from pathlib import Path

from bench.hostile.scene import SELECTORS, Scene, scene_at
from expunge.intake.folder import import_path
from expunge.project.files import read_json, sha256_file, write_json
from expunge.releases.chain import is_finished, load_release
from expunge.releases.cut import cut_planned
from expunge.releases.plan import ReleasePlan, plan
from expunge.repair.backup import backup

PASSPHRASE = "a passphrase of the campaign"


def do(scene: Scene, job: str, number: int) -> None:
    """One job; doing it again completes what a kill interrupted."""
    JOBS[job](scene, number)


def _intake(scene: Scene, number: int) -> None:
    for part in range(3):
        reference = f"K-{number}-{part}"
        print(scene.ledger.add(SELECTORS, "safety", reference=reference, by="clerk").request_id, flush=True)


def _approve(scene: Scene, number: int) -> None:
    for record in scene.ledger.records("received"):
        scene.ledger.approve(record.request.request_id, "officer")
        print(record.request.request_id, flush=True)


def _import(scene: Scene, number: int) -> None:
    folder = scene.root / "data" / "requests"
    file = folder / f"K{number}.json"
    done = list((folder / "done").glob(f"{file.name}.*"))
    if not file.is_file() and not done:
        asked = {"external_reference": f"I-{number}", "selectors": SELECTORS, "basis": "safety"}
        write_json(file, [asked, asked | {"external_reference": f"J-{number}"}])
    for outcome in import_path(folder, scene.ledger, lambda selectors: None, "clerk"):
        print(*outcome.requests, flush=True)


def _release(scene: Scene, number: int) -> None:
    """Cut, make the files that the stages would make, and register, as `steps.register` does without MLflow."""
    from certified import certify
    from expunge.near_duplicates import suppression
    from fake_release import SECRET_IDS, fill_release

    paths, ledger = scene.paths, scene.ledger
    todo = plan(paths, ledger)
    if not todo.unfinished and not todo.requests:
        todo = _with_a_request(scene, number)
    name = todo.unfinished
    if name is None:
        cut = cut_planned(paths, ledger, todo, "stand-in", gold=False)
        assert cut is not None
        name = cut.release
    if not is_finished(paths, name):
        description = load_release(paths, name)
        fill_release(paths, name, description.parent, [request.request_id for request in description.requests])
        ids = [request.request_id for request in description.requests]
        ledger.mark_released(ids, name, sha256_file(paths.release(name).model / "model.safetensors"))
        suppression.record_ids(paths, SECRET_IDS)
        certify(paths, scene.site.params, name)
    assert read_json(paths.release(name).registration)["verdict"] == "passed"


def _with_a_request(scene: Scene, number: int) -> ReleasePlan:
    request = scene.ledger.add(SELECTORS, "safety", reference=f"R-{number}", by="clerk")
    if scene.ledger.get(request.request_id).state == "received":
        scene.ledger.approve(request.request_id, "officer")
    return plan(scene.paths, scene.ledger)


def _backup(scene: Scene, number: int) -> None:
    target = scene.root.parent / "campaign.backup"
    backup(scene.site, target, PASSPHRASE)
    print(sha256_file(target), flush=True)


JOBS = {"intake": _intake, "approve": _approve, "import": _import, "release": _release, "backup": _backup}


def main() -> None:
    """Wait for the word, so that a kill falls into the work and not into the start of Python."""
    root, job, number = sys.argv[1:]
    scene = scene_at(Path(root))
    import certified  # noqa: F401  imported before the word, not after

    print("ready", flush=True)
    sys.stdin.readline()
    do(scene, job, int(number))


if __name__ == "__main__":
    main()
