"""A purge that is half done: nothing is built meanwhile, `expunge repair` leads out, and what comes back goes again."""

from __future__ import annotations

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.hostile.scene import SELECTORS, Copies, Scene, build
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.proof.project import verify_project
from expunge.purge import run
from expunge.purge.journal import Journal
from expunge.purge.plan import plan as plan_purge
from expunge.releases.cut import cut_planned
from expunge.releases.plan import plan
from expunge.repair.states import blocking
from fake_release import SECRET_IDS

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return build(tmp_path_factory.mktemp("purge") / "template")


@pytest.fixture
def scene(template: Scene, tmp_path: Path) -> Iterator[Scene]:
    with Copies(template, tmp_path / "copy").fresh() as copy:
        yield copy


class Killed(BaseException):
    """In place of a kill, which no `except Exception` may hide."""


def begun(scene: Scene) -> Journal:
    return run.begin(scene.paths, plan_purge(scene.paths, scene.site.params, "r001"))


def killed_after(scene: Scene, step: str, monkeypatch: pytest.MonkeyPatch, leaves: Path | None = None) -> None:
    """Go on with the purge until `step` is done and not yet noted; DVC may leave half of a file that it wrote."""

    def cut_short(purge: run.Purge) -> None:
        steps[step](purge)
        if leaves:
            leaves.write_bytes(leaves.read_bytes()[:7])
        raise Killed

    steps = dict(run.STEPS)
    journal = Journal.open(scene.paths, "r001")
    assert journal
    with monkeypatch.context() as patch:
        patch.setitem(run.STEPS, step, cut_short)
        with pytest.raises(Killed):
            run.finish(scene.paths, scene.site.params, journal)


def test_killed_at_any_step_also_while_dvc_writes_it_is_named_and_repaired(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun(scene)
    root = scene.root
    (scene.paths.purges / "r001" / ".journal.json.x.partial").write_bytes(b"{")
    for step, leaves in (
        ("catalog", None),
        ("pipeline", root / "dvc.lock"),
        ("keep", root / "releases" / "r001" / "outputs.dvc"),
        ("ledger", None),
    ):
        killed_after(scene, step, monkeypatch, leaves)
        (state,) = [one for one in blocking(scene.site) if one.command == "expunge purge r001"]
        assert (state.subject, "not finished" in state.problem) == ("r001", True)
    assert state.mend
    assert "finished and clean" in state.mend("Ada")
    assert blocking(scene.site) == []
    assert verify_project(scene.paths, scene.site.params).problems == []
    assert read_json(scene.paths.release("r001").purge)["clean"]
    assert not scene.paths.purges.joinpath("r001").exists()
    assert scene.ledger.get("req-0001").state == "purged"


def test_meanwhile_no_release_is_cut_and_no_stage_runs(scene: Scene) -> None:
    waiting = plan(scene.paths, scene.ledger)
    begun(scene)
    with pytest.raises(ExpungeError, match="`expunge purge r001` to finish it"):
        cut_planned(scene.paths, scene.ledger, waiting, "finetune", False)
    command = [sys.executable, "-m", "expunge.steps.catalog", "base"]
    stage = subprocess.run(command, cwd=scene.root, capture_output=True, text=True)
    assert stage.returncode == 1
    assert "A purge of r001 was begun and not finished" in stage.stderr


def test_a_release_that_was_cut_since_the_plan_is_finished_first(scene: Scene) -> None:
    planned = plan_purge(scene.paths, scene.site.params, "r001")
    assert cut_planned(scene.paths, scene.ledger, plan(scene.paths, scene.ledger), "finetune", False)
    with pytest.raises(ExpungeError, match="r002 was cut since"):
        run.begin(scene.paths, planned)
    assert scene.paths.half_purged == []


def test_no_purge_begins_while_a_stage_runs(scene: Scene) -> None:
    from filelock import FileLock

    for lock in (scene.paths.slot, scene.paths.stage_lock):
        with (
            FileLock(lock),
            pytest.raises(ExpungeError, match="A stage of the pipeline is running"),
            run.alone(scene.paths),
        ):
            pytest.fail("the purge got in")


def test_what_came_back_while_it_was_half_done_is_found_and_goes_with_the_next_attempt(
    scene: Scene, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.copytree(scene.paths.catalog, tmp_path / "catalog")
    begun(scene)
    killed_after(scene, "workspace", monkeypatch)
    shutil.rmtree(scene.paths.catalog)
    shutil.copytree(tmp_path / "catalog", scene.paths.catalog)
    journal = Journal.open(scene.paths, "r001")
    assert journal
    with pytest.raises(ExpungeError, match=r"not clean: .*data/catalog"):
        run.finish(scene.paths, scene.site.params, journal)
    again = Journal.open(scene.paths, "r001")
    assert again
    assert run.finish(scene.paths, scene.site.params, again)["clean"]
    shards = b"".join(path.read_bytes() for path in scene.paths.catalog.glob("*.parquet"))
    assert not any(name.encode() in shards for name in SECRET_IDS)
    assert verify_project(scene.paths, scene.site.params).problems == []


def test_a_lock_file_of_dvc_that_a_kill_cut_off_is_set_aside_and_written_again(scene: Scene) -> None:
    for lock in (scene.root / "dvc.lock", scene.paths.release("r001").folder / "dvc.lock"):
        lock.write_bytes(lock.read_bytes()[:7])
        (state,) = blocking(scene.site)
        assert state.subject == lock.relative_to(scene.root).as_posix()
        assert state.mend
        assert "written again" in state.mend("Ada")
        assert lock.with_name("dvc.lock.damaged").stat().st_size == 7
    assert blocking(scene.site) == []
    assert verify_project(scene.paths, scene.site.params).problems == []
    assert scene.ledger.add(SELECTORS, "safety", by="clerk").request_id == "req-0004"
