"""Stages depend on exactly the code that their command reaches, and the pipeline files say so."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import grimp
import pytest
import yaml
from typer.testing import CliRunner

from expunge import __version__
from expunge.cli import app
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import SOURCES
from expunge.pipeline.sources import Sources
from expunge.pipeline.stages import release_stages, root_stages
from expunge.project.errors import ExpungeError
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.releases.stages import bring_up_to_date, outdated
from expunge.unlearning.methods import METHODS
from project import ROOT, make_project, run

HOW = "run `expunge stages` (or `make stages`) and commit what it writes"
STEPS = sorted(path.stem for path in (ROOT / "expunge" / "steps").glob("[a-z]*.py"))


def stages(path: Path) -> dict[str, dict]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))["stages"]


@pytest.fixture(scope="module")
def sources() -> Sources:
    return Sources(ROOT)


@pytest.fixture(scope="module")
def graph() -> grimp.ImportGraph:
    """Who imports whom, as import-linter sees it: made in another way than ours."""
    return grimp.build_graph("expunge", exclude_type_checking_imports=True, cache_dir=None)


@pytest.fixture
def checkout(tmp_path: Path) -> Paths:
    """The repository's pipeline and library, to be changed."""
    shutil.copytree(ROOT / "expunge", tmp_path / "expunge", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(ROOT / "releases", tmp_path / "releases", ignore=shutil.ignore_patterns("dvc.lock"))
    for name in ("dvc.yaml", "params.yaml"):
        shutil.copy(ROOT / name, tmp_path)
    return Paths(tmp_path)


def test_the_pipeline_files_of_the_repository_are_what_the_library_writes() -> None:
    stale = [str(path.relative_to(ROOT)) for path in outdated(Paths(ROOT), CatalogParams())]
    assert stale == [], f"{', '.join(stale)} no longer fit the code: {HOW}"


@pytest.mark.parametrize("step", STEPS)
def test_a_stage_depends_on_what_its_command_imports_and_on_nothing_else(
    sources: Sources, graph: grimp.ImportGraph, step: str
) -> None:
    reached, waiting = set(), [f"expunge.steps.{step}"]
    while waiting:
        module = waiting.pop()
        if module not in reached:
            reached.add(module)
            packages = [module.rpartition(".")[0]] if "." in module else []
            waiting += [*graph.find_modules_directly_imported_by(module), *packages]
    code = {path for path in sources.reached(f"expunge.steps.{step}") if path.endswith(".py")}
    assert {path.removesuffix(".py").removesuffix("/__init__").replace("/", ".") for path in code} == reached


def test_a_page_brings_its_templates_and_styles_and_a_registration_those_of_the_certificate(sources: Sources) -> None:
    def data(step: str) -> set[str]:
        return {path for path in sources.reached(f"expunge.steps.{step}") if not path.endswith(".py")}

    page = {f"expunge/report/{name}" for name in ("base", "layout", "parts", "release")}
    own = {f"expunge/report/{name}" for name in ("benchmark.json", "charts.css", "charts.js", "page.css")}
    assert data("report") == {f"{path}.html.j2" for path in page} | own
    assert "expunge/report/certificate.md.j2" in data("register")
    assert data("select") == data("train") == set()


@pytest.mark.parametrize(
    ("text", "files"),
    [
        ("import expunge.project.files", {"__init__", "project/__init__", "project/files"}),
        ("from expunge.project import files as f", {"__init__", "project/__init__", "project/files"}),
        ("from expunge.project.files import write_json", {"__init__", "project/__init__", "project/files"}),
        ("from ..project import files", {"__init__", "project/__init__", "project/files"}),
        ("def late():\n    from expunge.project import files", {"__init__", "project/__init__", "project/files"}),
        ("if TYPE_CHECKING:\n    from expunge.project import files", set()),
        ("if TYPE_CHECKING:\n    pass\nelse:\n    import expunge", {"__init__"}),
        ("import typing\nif typing.TYPE_CHECKING:\n    import expunge.project.files", set()),
        ("'expunge.project.files'", set()),
    ],
)
def test_every_way_to_import_is_seen(tmp_path: Path, text: str, files: set[str]) -> None:
    for name in ("__init__", "steps/__init__", "project/__init__", "project/files"):
        path = tmp_path / "expunge" / f"{name}.py"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    (tmp_path / "expunge" / "steps" / "new.py").write_text(text, encoding="utf-8")
    own = {f"expunge/{name}.py" for name in ("__init__", "steps/__init__", "steps/new")}
    expected = own | {f"expunge/{name}.py" for name in files}
    assert set(Sources(tmp_path).reached("expunge.steps.new")) == expected


def test_what_a_stage_imports_by_its_name_is_imported_in_two_files_only(sources: Sources) -> None:
    """A static closure cannot see more; `catalog` and `unlearn`, ladder or not, depend on the chosen files."""
    dynamic = {
        path.relative_to(ROOT).as_posix()
        for path in (ROOT / "expunge").rglob("*.py")
        if "import_module(" in path.read_text(encoding="utf-8") or "__import__(" in path.read_text(encoding="utf-8")
    }
    commands = "expunge/commands/groups.py"
    assert dynamic == {"expunge/corpus/sources/__init__.py", "expunge/unlearning/registry.py", commands}
    assert not [step for step in STEPS if commands in sources.reached(f"expunge.steps.{step}")]
    reaching = [step for step in STEPS if "expunge/unlearning/registry.py" in sources.reached(f"expunge.steps.{step}")]
    assert reaching == ["climb", "unlearn"]
    assert all((ROOT / "expunge" / "corpus" / "sources" / f"{name}.py").is_file() for name in SOURCES)


@pytest.mark.parametrize("name", ["cliperase_calibrated", "salun", "retrain"])
def test_only_the_chosen_method_and_what_it_reaches_count(sources: Sources, name: str) -> None:
    deps = yaml.safe_load(release_stages(Paths(ROOT), "r009", "r008", name, gold=True))["stages"]["unlearn"]["deps"]
    assert "expunge/unlearning/methods/${method.name}.py" in deps
    own = set(sources.reached(f"expunge.unlearning.methods.{name}"))
    assert own - {f"expunge/unlearning/methods/{name}.py"} <= set(deps)
    assert {f"expunge/unlearning/methods/{other}.py" for other in METHODS} & set(deps) <= own


def test_the_catalog_depends_on_the_chosen_source() -> None:
    deps = yaml.safe_load(root_stages(Paths(ROOT), CatalogParams()))["stages"]["catalog"]["deps"]
    assert "expunge/corpus/sources/${catalog.source}.py" in deps
    assert "expunge/corpus/sources/openmoji.py" not in deps


def test_on_a_source_of_another_package_the_catalog_depends_by_no_file() -> None:
    deps = yaml.safe_load(root_stages(Paths(ROOT), CatalogParams(source="somewhere_else")))["stages"]["catalog"]["deps"]
    assert "expunge/steps/catalog.py" in deps
    assert not any("${catalog.source}" in path for path in deps)


def test_a_module_that_moves_makes_the_pipeline_files_outdated_until_they_are_written_anew(
    checkout: Paths, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert outdated(checkout, CatalogParams()) == {}
    old, new = (checkout.library / "selection" / name for name in ("predicates.py", "rules.py"))
    old.rename(new)
    for path in checkout.library.rglob("*.py"):
        text = path.read_text(encoding="utf-8")
        path.write_text(text.replace("selection.predicates", "selection.rules"), encoding="utf-8")
    assert checkout.release("r001").pipeline in outdated(checkout, CatalogParams())
    monkeypatch.chdir(checkout.root)
    assert "wrote releases/r001/dvc.yaml" in CliRunner().invoke(app, ["stages"]).output
    assert "expunge/selection/rules.py" in stages(checkout.release("r001").pipeline)["select"]["deps"]
    assert "up to date" in CliRunner().invoke(app, ["stages"]).output


def test_stages_of_ones_own_are_not_overwritten(checkout: Paths) -> None:
    content = yaml.safe_load(checkout.pipeline.read_text())
    content["stages"]["mine"] = {"cmd": "echo mine"}
    checkout.pipeline.write_text(yaml.safe_dump(content))
    with pytest.raises(ExpungeError, match=r"stages of your own \(mine\)"):
        bring_up_to_date(checkout, CatalogParams())
    assert "mine" in checkout.pipeline.read_text()


def stale(project: Path) -> set[str]:
    """The stages that `dvc status` finds stale."""
    return {name.rpartition(":")[2] for name in json.loads(run(project, "dvc", "status", "--json").stdout)}


@pytest.mark.slow
def test_dvc_finds_the_stages_stale_whose_code_changed_and_no_others(served: Path, tmp_path: Path) -> None:
    project = tmp_path / "project"
    shutil.copytree(served, project, symlinks=True)
    (project / "expunge/unlearning/methods/unused.py").write_text('"""A method that nobody uses."""\n')
    assert stale(project) == set()
    for file, expected in (
        ("selection/predicates.py", {"select"}),
        ("models/checkpoint.py", {"train", "unlearn", "gold"}),
        ("unlearning/methods/retrain_text.py", {"unlearn"}),
        ("unlearning/methods/cliperase_calibrated.py", set()),
        ("evaluation/gate.py", {"unlearn", "evaluate"}),  # the ladder judges each rung
        ("report/parts.html.j2", {"report"}),
        ("purge/scan.py", set()),
    ):
        path = project / "expunge" / file
        text = path.read_text(encoding="utf-8")
        path.write_text(f"{text}\n", encoding="utf-8")
        found = stale(project)
        path.write_text(text, encoding="utf-8")
        assert expected <= found, file
        assert bool(expected) or not found, file
        if file != "models/checkpoint.py":
            assert found <= expected | {"evaluate", "register"}, file
    assert stale(project) == set()


def test_a_purged_project_keeps_a_frozen_catalog_and_no_stage_of_the_base_model(checkout: Paths) -> None:
    write_json(checkout.release("base").tombstone, {})
    kept = checkout.release("r001").outputs
    kept.write_text("outs: []\n")
    pipeline = checkout.release("r001").pipeline
    pipeline.write_text("metrics:\n  - ../../reports/r001/summary.json\n")
    assert bring_up_to_date(checkout, CatalogParams()) == [checkout.pipeline]
    content = yaml.safe_load(checkout.pipeline.read_text())
    assert set(content["stages"]) == {"catalog", "live"}
    assert content["stages"]["catalog"]["frozen"] is True
    assert content.keys() == {"vars", "stages"}


def test_no_stage_depends_on_what_changes_no_result() -> None:
    texts = [root_stages(Paths(ROOT), CatalogParams()), release_stages(Paths(ROOT), "r001", "base", "ssd", True)]
    found = [stage.get("params", []) for text in texts for stage in yaml.safe_load(text)["stages"].values()]
    assert ["compute", "model", "seed", "train"] in found
    assert "loading" not in str(found)


def test_with_an_installed_library_every_stage_depends_on_its_version(tmp_path: Path) -> None:
    paths = Paths(tmp_path)
    for name, stage in yaml.safe_load(root_stages(paths, CatalogParams()))["stages"].items():
        assert ".expunge-version" in stage["deps"], name
        assert not any(path.startswith("expunge/") for path in stage["deps"]), name


@pytest.mark.slow
def test_after_an_upgrade_no_step_runs_until_it_is_acknowledged_and_then_all_are_stale(tmp_path: Path) -> None:
    project = make_project(tmp_path / "project", sources=False)
    run(project, "dvc", "repro", "--quiet", "catalog")
    assert "catalog" not in stale(project)
    version = project / ".expunge-version"
    version.write_text("0.0.9\n")  # as if the library had been upgraded since the project was made
    run(project, "dvc", "commit", "--force", "--quiet", "catalog")
    refused = run(project, "python", "-m", "expunge.steps.catalog", "base", check=False)
    assert refused.returncode == 1
    assert "written for expunge 0.0.9" in refused.stderr
    assert "expunge stages" in refused.stderr
    assert "catalog" not in stale(project)
    assert f"expunge {__version__} now" in run(project, "expunge", "stages").stdout
    assert "catalog" in stale(project)
    run(project, "dvc", "repro", "--quiet", "catalog")
    assert "catalog" not in stale(project)
    assert "up to date" in run(project, "expunge", "stages").stdout
