"""Releases: the chain is sound, cutting one is all or nothing, and every release has the same stages."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest
import yaml

from expunge.corpus.settings import CatalogParams
from expunge.pipeline.stages import root_stages
from expunge.project.errors import ExpungeError
from expunge.project.library import acknowledge
from expunge.project.paths import Paths
from expunge.releases.chain import chain, load_release, next_name, served_requests
from expunge.releases.cut import create_release
from expunge.releases.plan import plan
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest
from expunge.requests.settings import LedgerParams
from project import ROOT, run
from registered import write_registration


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    (tmp_path / "releases").mkdir()
    (tmp_path / "releases" / "live.yaml").write_text("live: base\n")
    acknowledge(Paths(tmp_path))
    return Paths(tmp_path)


def ledger(paths: Paths) -> Ledger:
    return Ledger.open(LedgerParams(seed=None), paths.root)


def approved(paths: Paths) -> DeletionRequest:
    book = ledger(paths)
    request = book.add([{"kind": "class", "class_name": "drum"}], "safety")
    book.approve(request.request_id, "tests")
    return request


def finished(paths: Paths, name: str, verdict: str) -> None:
    write_registration(paths, name, verdict)


def test_a_release_freezes_its_requests_and_becomes_live(paths: Paths) -> None:
    request = approved(paths)
    cut = create_release(paths, [request], "cliperase", gold=False)
    assert (cut.release, cut.parent) == ("r001", "base")
    assert load_release(paths, "r001").requests == (request,)
    assert chain(paths) == ["base", "r001"]
    assert served_requests(paths) == {request.request_id: "r001"}
    assert next_name(paths) == "r002"


def test_a_release_without_gold_standard_has_no_stage_for_it(paths: Paths) -> None:
    create_release(paths, [approved(paths)], "cliperase", gold=False)
    stages = yaml.safe_load((paths.release("r001").folder / "dvc.yaml").read_text())["stages"]
    assert "gold" not in stages
    assert not any("gold" in dependency for dependency in stages["evaluate"]["deps"])


def test_what_a_killed_cut_left_behind_is_replaced(paths: Paths) -> None:
    leftover = paths.release("r001").folder
    leftover.mkdir()
    (leftover / "release.yaml").write_text("half: written")
    create_release(paths, [approved(paths)], "cliperase", gold=True)
    assert load_release(paths, "r001").method.name == "cliperase"
    assert not list(leftover.parent.glob(".*"))


def test_a_name_that_exists_or_leads_elsewhere_changes_nothing(paths: Paths) -> None:
    request = approved(paths)
    create_release(paths, [request], "cliperase", gold=True, name="first")
    before = sorted(path.name for path in paths.root.rglob("*"))
    for name, message in (("first", "exists already"), ("../x", "lower-case"), ("base", "release name")):
        with pytest.raises(ExpungeError, match=message):
            create_release(paths, [request], "cliperase", gold=True, name=name)
    assert sorted(path.name for path in paths.root.rglob("*")) == before


def test_the_plan_finishes_what_was_cut_and_builds_on_nothing_that_failed(paths: Paths) -> None:
    first = approved(paths)
    assert plan(paths, ledger(paths)).requests == (first,)
    create_release(paths, [first], "cliperase", gold=True)
    assert plan(paths, ledger(paths)).unfinished == "r001"
    finished(paths, "r001", "failed")
    second = approved(paths)
    with pytest.raises(ExpungeError, match="r001 failed its gate"):
        plan(paths, ledger(paths))
    finished(paths, "r001", "passed")
    assert plan(paths, ledger(paths)).requests == (second,)


def test_a_circle_of_parents_and_a_missing_parent_are_named(paths: Paths) -> None:
    create_release(paths, [approved(paths)], "cliperase", gold=True)
    description = paths.release("r001").description
    content = yaml.safe_load(description.read_text())
    description.write_text(yaml.safe_dump(content | {"parent": "r001"}))
    with pytest.raises(ExpungeError, match="circle"):
        chain(paths)
    description.write_text(yaml.safe_dump(content | {"parent": "r000"}))
    with pytest.raises(ExpungeError, match=r"r000.*missing"):
        chain(paths)


def reproduced(paths: Paths, pipeline: str, stage: str, *options: str) -> subprocess.CompletedProcess[str]:
    """What `dvc repro` says of a stage of this project, whose inputs are empty folders."""
    (paths.root / "params.yaml").write_text((ROOT / "params.yaml").read_text())
    for dependency in yaml.safe_load((paths.root / pipeline).read_text())["stages"][stage]["deps"]:
        known = dependency.replace("${live}", yaml.safe_load(paths.live.read_text())["live"])
        if known != paths.library_version.name:
            (paths.root / known).mkdir(parents=True, exist_ok=True)
    run(paths.root, "git", "init", "--quiet")
    run(paths.root, "dvc", "init", "--quiet")
    target = f"{pipeline}:{stage}"
    return run(paths.root, "dvc", "repro", *options, target, check=False, PYTHONPATH=str(ROOT))


@pytest.mark.parametrize("name", ["r001; touch injected #", "../../x"])
def test_a_name_in_a_description_never_reaches_the_shell_or_a_path(paths: Paths, name: str) -> None:
    create_release(paths, [approved(paths)], "cliperase", gold=False)
    description = paths.release("r001").description
    content = yaml.safe_load(description.read_text())
    description.write_text(yaml.safe_dump(content | {"release": name}))
    result = reproduced(paths, "releases/r001/dvc.yaml", "select")
    assert result.returncode
    assert "a release name is lower-case letters" in result.stderr
    assert not list(paths.root.rglob("injected"))
    for field in ("release", "parent"):
        description.write_text(yaml.safe_dump(content | {field: name}))
        with pytest.raises(ExpungeError, match="lower-case letters"):
            load_release(paths, "r001")


def test_the_name_of_the_live_release_never_reaches_the_shell(paths: Paths) -> None:
    paths.live.write_text(yaml.safe_dump({"live": "base; touch injected #"}))
    paths.pipeline.write_text(root_stages(paths, CatalogParams()))
    result = reproduced(paths, "dvc.yaml", "live", "--single-item")
    assert result.returncode
    assert "a release name is lower-case letters" in result.stderr
    assert not list(paths.root.rglob("injected"))
