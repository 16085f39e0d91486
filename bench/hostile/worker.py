"""What a campaign kills and races: one job of the desk, of the release flow or of an operator on the stand-in project.

Each job runs in a process of its own, forked from a server that has imported everything: a kill falls into the work
and not into the start of Python.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import time
from collections.abc import Callable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from filelock import FileLock

from bench.hostile.scene import SELECTORS, Scene, commit, fill_in, scene_at
from expunge.intake.folder import import_path
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file, write_json
from expunge.project.paths import BASE
from expunge.releases.chain import is_finished, is_purged, load_release
from expunge.releases.cut import cut_planned
from expunge.releases.plan import plan
from expunge.repair.backup import backup
from expunge.repair.states import blocking

Say = Callable[[str], None]
"""How a job acknowledges something: what it has said must never be lost."""

DONE = "done"
PASSPHRASE = "a passphrase of the campaign"
NEEDED = ("bench.hostile.worker", "dvc.repo", "expunge.models.clip", "expunge.purge.run", "sqlalchemy.dialects.sqlite")
SERVER = multiprocessing.get_context("forkserver")
SERVER.set_forkserver_preload([*NEEDED])


class Job:
    """A job in a process of its own, which waits for the word."""

    def __init__(self, scene: Scene, name: str, number: int) -> None:
        self._here, there = SERVER.Pipe()
        self._process: BaseProcess = SERVER.Process(
            target=_work, args=(str(scene.root), scene.url, name, number, there), daemon=True
        )
        self._process.start()
        there.close()
        self._here.recv()

    def go(self) -> None:
        self._here.send("go")

    def kill(self) -> None:
        """End it without a word."""
        self._process.kill()
        self._process.join()

    def said(self) -> list[str]:
        """All that it said until it ended: `done` last; `refused:` before a refusal, `failed:` before a defect."""
        found = []
        try:
            while True:
                found.append(self._here.recv())
        except (EOFError, ConnectionResetError):
            self._process.join()
            return found


def _work(root: str, url: str, name: str, number: int, pipe: Connection) -> None:
    os.chdir(root)
    scene = scene_at(Path(root), url)
    pipe.send("ready")
    pipe.recv()
    try:
        do(scene, name, number, pipe.send)
        pipe.send(DONE)
    except ExpungeError as error:
        pipe.send(f"refused: {error}")
    except Exception as error:
        pipe.send(f"failed: {type(error).__name__}: {error}")


def do(scene: Scene, job: str, number: int, say: Say = lambda text: None) -> None:
    """One job; doing it again completes what a kill interrupted."""
    JOBS[job](scene, number, say)


def seconds_of(scene: Scene, job: str) -> float:
    """How long a job takes that nobody kills."""
    process = Job(scene, job, 0)
    started = time.monotonic()
    process.go()
    process.said()
    return time.monotonic() - started


def _intake(scene: Scene, number: int, say: Say) -> None:
    for part in range(3):
        say(scene.ledger.add(SELECTORS, "safety", reference=f"K-{number}-{part}", by="clerk").request_id)


def _approve(scene: Scene, number: int, say: Say) -> None:
    ledger = scene.ledger
    for part in range(3):
        request = ledger.add(SELECTORS, "safety", reference=f"A-{number}-{part}", by="clerk")
        say(request.request_id)
    for record in ledger.records("received"):
        ledger.approve(record.request.request_id, "officer")
        say(f"approved {record.request.request_id}")


def _import(scene: Scene, number: int, say: Say) -> None:
    drop(scene, number)
    for outcome in import_path(scene.root / "data" / "requests", scene.ledger, lambda selectors: None, "clerk"):
        for request in outcome.requests:
            say(request)


def drop(scene: Scene, number: int) -> None:
    """Lay a file with two requests into the drop folder, unless it was imported already."""
    folder = scene.root / "data" / "requests"
    file = folder / f"K{number}.json"
    if not file.is_file() and not list((folder / "done").glob(f"{file.name}.*")):
        asked = {"external_reference": f"I-{number}", "selectors": SELECTORS, "basis": "safety"}
        write_json(file, [asked, asked | {"external_reference": f"J-{number}"}])


def _release(scene: Scene, number: int, say: Say) -> None:
    """What the flow does, with stand-ins for its stages, under the locks under which stages run."""
    from certified import certify
    from expunge.near_duplicates import suppression
    from fake_release import SECRET_IDS, fill_release

    paths, ledger = scene.paths, scene.ledger
    name = None
    while name is None:
        todo = plan(paths, ledger)
        name = todo.unfinished
        if name is None and not todo.requests:
            return
        with FileLock(paths.slot), FileLock(paths.stage_lock):
            pass  # the flow brings the parent up to date
        if name is None and (cut := cut_planned(paths, ledger, todo, "finetune", gold=False)):
            name = cut.release
    description = load_release(paths, name)
    ids = [request.request_id for request in description.requests]
    with FileLock(paths.slot), FileLock(paths.stage_lock):
        if not is_finished(paths, name):
            where = paths.release(name)
            for output in (where.model, where.embeddings, where.index):  # as DVC does before it runs a stage
                shutil.rmtree(output, ignore_errors=True)
            fill_release(paths, name, description.parent, ids)
            fill_in(paths)
    with FileLock(paths.slot), FileLock(paths.stage_lock):
        if not is_finished(paths, name):
            ledger.mark_released(ids, name, sha256_file(paths.release(name).model / "model.safetensors"))
            suppression.record_ids(paths, SECRET_IDS)
            certify(paths, scene.site.params, name)
        if not paths.release(name).outputs.is_file():  # a purge has not made it data without stages
            commit(paths, f"releases/{name}/dvc.yaml")
    assert read_json(paths.release(name).registration)["verdict"] == "passed"
    say(f"released {name}")


def _purge(scene: Scene, number: int, say: Say) -> None:
    """What `expunge purge r001 --yes` does."""
    from expunge.purge import run
    from expunge.purge.journal import Journal
    from expunge.purge.plan import plan as plan_purge

    paths, params = scene.paths, scene.site.params
    with run.alone(paths):
        journal = Journal.open(paths, "r001")
        if journal is None and is_purged(paths, BASE):
            return
        if journal is None:
            journal = run.begin(paths, plan_purge(paths, params, "r001"))
        assert run.finish(paths, params, journal)["clean"]
    say("purged r001")


def _backup(scene: Scene, number: int, say: Say) -> None:
    target = scene.root.parent / "campaign.backup"
    backup(scene.site, target, PASSPHRASE)
    say(f"backup {sha256_file(target)}")


def _repair(scene: Scene, number: int, say: Say) -> None:
    """What `expunge repair --yes` does."""
    for state in blocking(scene.site):
        if state.mend:
            state.mend("campaign")


JOBS: dict[str, Callable[[Scene, int, Say], None]] = {
    "intake": _intake,
    "approve": _approve,
    "import": _import,
    "release": _release,
    "purge": _purge,
    "backup": _backup,
    "repair": _repair,
}
