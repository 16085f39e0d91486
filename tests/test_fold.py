"""A chain of releases that grows: DVC looks at the newest stages only, and still at every output."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
import yaml

from bench.chain import looked_at, measured, write_chain
from bench.hostile.scene import Copies, build
from bench.hostile.worker import do
from expunge.lineage.dvc.fold import fold
from expunge.lineage.dvc.locks import read_locks
from expunge.lineage.dvc.stages import stage_groups
from expunge.project.files import write_json
from expunge.project.paths import BASE, Paths
from expunge.proof.locked import lock_checks
from expunge.proof.project import verify_project
from expunge.purge import run as purging
from expunge.purge.plan import plan
from expunge.releases.chain import chain
from project import run

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def chain_of_six(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("chain") / "project"
    root.mkdir()
    write_chain(root, 6)
    return root


def test_folded_releases_cost_no_stage_and_keep_their_record(
    chain_of_six: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(chain_of_six)
    paths = Paths(Path("."))
    before = measured(chain_of_six, "repro")["stages"]
    recorded = {path: entry.md5 for path, entry in read_locks(paths).outs.items()}
    assert fold(paths, set(), keep=2) == ["r001", "r002", "r003", "r004"]
    assert fold(paths, set(), keep=2) == []
    stages = len(yaml.safe_load(paths.release("r006").pipeline.read_text())["stages"])
    assert measured(chain_of_six, "repro")["stages"] == before - 4 * stages
    measured(chain_of_six, "status")  # up to date, too
    assert {path: entry.md5 for path, entry in read_locks(paths).outs.items()} == recorded
    assert {check.state for check in lock_checks(paths)} == {"ok"}
    assert [len(group.stages) for group in stage_groups(paths)][1:] == [0, 0, 0, 0, stages, stages]
    # What was changed in a folded release is noticed, and no command makes it again.
    model = paths.release("r002").model / "part"
    model.chmod(0o644)
    model.unlink()
    model.write_text("another model\n")
    assert "models/r002" in run(chain_of_six, "dvc", "status").stdout
    assert "r002" not in "".join(looked_at(run(chain_of_six, "dvc", "repro", "--verbose").stdout))
    assert model.read_text() == "another model\n"
    # The next release is built on what is left of the chain.
    assert not run(chain_of_six, "dvc", "status", "releases/r006/dvc.yaml").stdout.count("changed")


def test_a_fold_that_was_killed_is_done_again_and_a_release_that_failed_keeps_its_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from expunge.lineage.dvc import rebase

    write_chain(tmp_path, 3)
    paths = Paths(Path("."))
    with contextlib.chdir(tmp_path):
        failed = paths.release("r001").registration
        content = yaml.safe_load(failed.read_text()) | {"verdict": "failed"}
        write_json(failed, content)
        assert fold(paths, set(), keep=2) == []
        write_json(failed, content | {"verdict": "passed"})
        writes = rebase.write_bytes

        def killed(path: Path, data: bytes) -> None:
            if path == paths.release("r001").outputs:
                raise KeyboardInterrupt
            writes(path, data)

        monkeypatch.setattr(rebase, "write_bytes", killed)
        with pytest.raises(KeyboardInterrupt):
            fold(paths, set(), keep=2)
        monkeypatch.undo()
        assert fold(paths, set(), keep=2) == ["r001"]
    measured(tmp_path, "status")
    assert BASE in (tmp_path / "dvc.yaml").read_text()


def test_a_purge_reaches_what_was_folded(tmp_path: Path) -> None:
    template = build(tmp_path / "template")
    with Copies(template, tmp_path / "copy").fresh() as scene:
        for job in ("approve", "release"):
            do(scene, job, 1)
        assert chain(scene.paths) == [BASE, "r001", "r002"]
        assert fold(scene.paths, set(), keep=1) == ["r001"]
        with purging.alone(scene.paths):
            journal = purging.begin(scene.paths, plan(scene.paths, scene.site.params, "r002"))
            assert purging.finish(scene.paths, scene.site.params, journal)["clean"]
        assert not scene.paths.release("r001").model.exists()
        assert verify_project(scene.paths, scene.site.params).problems == []
