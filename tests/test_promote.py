"""Only a sound release becomes champion, in a person's name; an alias moved by hand to another one is found."""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from certified import LEDGER, purged, requests_in_ledger
from expunge.cli import app
from expunge.lineage.mlflow.glance import Glance, glance
from expunge.lineage.mlflow.store import Store, existing_store
from expunge.lineage.settings import MlflowParams
from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes, write_json
from expunge.project.paths import Paths
from expunge.proof.aliases import misplaced_aliases
from expunge.proof.promotion import promote
from expunge.repair.aliases import alias_state
from expunge.repair.state import Site
from expunge.settings import Params
from expunge.steps.register import register
from fake_release import make_project, make_release, params_of
from project import ROOT
from registered import write_registration

pytestmark = pytest.mark.slow

Project = tuple[Paths, Params]


@pytest.fixture(scope="module")
def registered(tmp_path_factory: pytest.TempPathFactory) -> dict[bool, Path]:
    """A project whose release passed and one whose release failed, both in a real MLflow."""
    from mlflow import MlflowClient

    empty = tmp_path_factory.mktemp("mlflow") / "empty.db"
    MlflowClient(tracking_uri=f"sqlite:///{empty}").search_experiments()
    found = {}
    for passed in (True, False):
        root = tmp_path_factory.mktemp("passed" if passed else "failed")
        paths, params = make_project(root, passed=passed), settings(root)
        shutil.copy(empty, root / "mlflow.db")
        requests_in_ledger(paths)
        for name in ("base", "r001"):
            write_bytes(paths.release(name).page, b"<html></html>\n")
            register(paths, params, name)
        found[passed] = root
    return found


@pytest.fixture
def project(registered: dict[bool, Path], tmp_path: Path) -> Project:
    return copy_of(registered[True], tmp_path)


def settings(root: Path) -> Params:
    return params_of(root, ledger=LEDGER, mlflow=MlflowParams())


def copy_of(root: Path, folder: Path) -> Project:
    copy = shutil.copytree(root, folder / "project")
    return Paths(copy), settings(copy)


def store_of(project: Project) -> Store:
    store = existing_store(project[0], project[1].mlflow)
    assert store is not None
    return store


def test_a_named_person_makes_a_sound_release_champion(project: Project) -> None:
    assert misplaced_aliases(*project) == []
    version = promote(*project, "r001", "Ada")
    store = store_of(project)
    assert store.aliases() == {"candidate": version, "champion": version}
    tags = store.client.get_model_version(store.model, version).tags
    assert tags["promoted_by"] == "Ada"
    assert tags["promoted_at"].endswith("Z")
    assert misplaced_aliases(*project) == []


def revoke(project: Project) -> None:
    store = store_of(project)
    store.client.set_model_version_tag(store.model, "2", "revoked", "a rights holder objects to the method")


def find_traces(project: Project) -> None:
    write_json(project[0].release("base").purge, purged(findings=1))


def tamper(project: Project) -> None:
    path = project[0].release("r001").index / "image.faiss"
    path.write_bytes(path.read_bytes() + b"!")


def lose_certificate(project: Project) -> None:
    project[0].release("r001").certificate.unlink()


@pytest.mark.parametrize(
    ("harm", "reason"),
    [
        (revoke, "it was revoked"),
        (find_traces, "the purge of base is not clean"),
        (tamper, r"fails at data/index/r001/image\.faiss"),
        (lose_certificate, r"cannot be verified .*certificate\.json is missing"),
    ],
)
def test_an_unsound_release_is_refused_and_its_alias_is_found(project: Project, harm, reason: str) -> None:
    harm(project)
    with pytest.raises(ExpungeError, match=reason):
        promote(*project, "r001", "Ada")
    assert "champion" not in store_of(project).aliases()
    (finding,) = misplaced_aliases(*project)
    assert finding.startswith("candidate is on clip/2 (release r001): ")


@pytest.mark.parametrize("alias", ["candidate", "champion", "production"])
def test_an_alias_that_was_set_by_hand_on_a_failed_release_is_found(
    registered: dict[bool, Path], tmp_path: Path, alias: str
) -> None:
    project = copy_of(registered[False], tmp_path)
    with pytest.raises(ExpungeError, match="it failed its gate"):
        promote(*project, "r001", "Ada")
    assert misplaced_aliases(*project) == []
    store = store_of(project)
    store.client.set_registered_model_alias(store.model, alias, "2")
    (finding,) = misplaced_aliases(*project)
    assert finding == f"{alias} is on clip/2 (release r001): it failed its gate."


def test_what_no_gate_passed_or_nobody_signs_for_is_refused(project: Project) -> None:
    for name, by, reason in (
        ("base", "Ada", "no gate passed it"),
        ("base", "Ada", "r001 has forgotten more since"),
        ("r001", " ", "chosen by a person"),
        ("r9", "Ada", "There is no release r9"),
    ):
        with pytest.raises(ExpungeError, match=reason):
            promote(*project, name, by)


def test_the_command_asks_on_a_terminal_only(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    import expunge.commands.verify as commands

    monkeypatch.chdir(project[0].root)
    monkeypatch.setattr(commands, "load_params", lambda path: project[1])
    app = typer.Typer()
    app.command()(commands.promote)
    assert CliRunner().invoke(app, ["r001"]).exit_code == 2  # --by is missing
    monkeypatch.setattr(commands, "_on_a_terminal", lambda: True)
    assert CliRunner().invoke(app, ["r001", "--by", "Ada"], input="n\n").exit_code == 1
    assert "champion" not in store_of(project).aliases()
    done = CliRunner().invoke(app, ["r001", "--by", "Ada", "--yes"])
    assert done.output == "clip/2 (r001) is champion, by Ada.\n"


def test_what_somebody_wrote_in_mlflow_reaches_no_terminal_as_an_escape(
    project: Project, monkeypatch: pytest.MonkeyPatch
) -> None:
    from expunge.commands import trace, verify

    store = store_of(project)
    store.client.set_model_version_tag(store.model, "2", "parent", "base\x1b[2J\nr001 is as certified")
    store.client.set_registered_model_alias(store.model, "x", "2")
    monkeypatch.chdir(project[0].root)
    for command, module in (("verify", verify), ("trace", trace)):
        monkeypatch.setattr(module, "load_params", lambda _: project[1])
        shown = CliRunner().invoke(app, [command, "r001"])
        assert shown.exit_code == (command == "verify")
        assert not {"\x1b", "\x9b"} & set(shown.output), shown.output
        assert "\nr001 is as certified" not in shown.output
        store.client.set_model_version_tag(store.model, "2", "superseded_by", "\x9b31m")
    store.client.delete_model_version_tag(store.model, "2", "superseded_by")
    with pytest.raises(ExpungeError, match="one line of plain text"):
        promote(*project, "r001", "Ada\x1b[2J")


def test_the_alias_of_a_champion_that_a_newer_release_has_outdone_is_a_finding(project: Project) -> None:
    from expunge.proof.audit import Audited, aliases_on_sound_models
    from expunge.requests.ledger import Ledger

    paths, params = project
    assert promote(paths, params, "r001", "Ada") == "2"
    make_release(paths, "r002", "r001", ["req-0003", "req-0004"])
    paths.live.write_text("live: r002\n")
    write_registration(paths, "r002", "passed")
    findings = list(aliases_on_sound_models(Audited(paths, params, Ledger.open(LEDGER, paths.root))))
    assert [finding.severity for finding in findings if "champion" in finding.problem] == ["warning"]
    assert any("r002 has forgotten more since" in finding.problem for finding in findings)


def recorded_and_asked(project: Project) -> tuple[list[object], list[object]]:
    """Versions with their tags, and aliases: read from the tables, and asked of MLflow's client."""
    seen = glance(project[0], project[1].mlflow)
    assert seen is not None, "this MLflow's tables have a revision that nobody has compared: look at glance.REVISIONS"
    store = store_of(project)
    asked = [(str(version.version), dict(version.tags)) for version in store.versions()]
    return [[(one.version, one.tags) for one in seen.versions], seen.aliases], [asked, store.aliases()]


def test_a_glance_at_the_tables_says_what_mlflow_says(project: Project) -> None:
    seen, asked = recorded_and_asked(project)
    assert seen == asked
    assert asked[1] == {"candidate": "2"}
    store = store_of(project)
    promote(*project, "r001", "Ada")
    store.client.delete_model_version(store.model, "1")
    seen, asked = recorded_and_asked(project)
    assert seen == asked
    assert [number for number, _ in asked[0]] == ["2"]


def test_a_glance_leaves_to_the_client_what_it_does_not_know(project: Project, monkeypatch: pytest.MonkeyPatch) -> None:
    paths, params = project
    with closing(sqlite3.connect(paths.root / "mlflow.db")) as connection, connection:
        connection.execute("UPDATE alembic_version SET version_num = 'newer'")
    assert glance(paths, params.mlflow) is None
    (paths.root / "mlflow.db").write_bytes(b"not a database" * 100)
    assert glance(paths, params.mlflow) is None
    (paths.root / "mlflow.db").unlink()
    assert glance(paths, params.mlflow) == Glance()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:1")
    assert glance(paths, params.mlflow) is None


def test_status_goes_by_what_is_recorded_and_the_audit_proves_it(project: Project) -> None:
    paths, params = project
    tamper(project)
    assert list(alias_state(Site(paths, params, proves=False))) == []
    (state,) = alias_state(Site(paths, params))
    assert "image.faiss" in state.problem
    revoke(project)
    (state,) = alias_state(Site(paths, params, proves=False))
    assert "it was revoked" in state.problem


def test_status_imports_nothing_that_it_does_not_need(project: Project) -> None:
    """A bound on what is loaded, which no busy machine changes: MLflow's client alone takes seconds."""
    script = (
        "import json, sys\n"
        "from expunge.cli import app\n"
        "app(['status', '--json'], standalone_mode=False)\n"
        "json.dump(sorted(sys.modules), sys.stderr)\n"
    )
    root = project[0].root
    shutil.copy(ROOT / "params.yaml", root)
    environment = os.environ | {"PYTHONPATH": str(ROOT), "PYTHONSAFEPATH": "1"}
    run = subprocess.run(
        [sys.executable, "-c", script], cwd=root, env=environment, capture_output=True, text=True, check=True
    )
    assert json.loads(run.stdout)["releases"][-1]["release"] == "r001"
    modules = json.loads(run.stderr)
    slow = {"altair", "cryptography", "dvc", "fsspec", "mlflow", "pandas", "prefect", "scipy", "sklearn", "torch"}
    assert slow & {name.partition(".")[0] for name in modules} == set()
    assert "pyarrow.dataset" not in modules
    assert len(modules) < 900


def test_repair_moves_or_takes_away_an_alias_on_a_model_that_must_not_be_used(
    registered: dict[bool, Path], tmp_path: Path
) -> None:
    paths, params = copy_of(registered[False], tmp_path)
    store = store_of((paths, params))
    for alias in ("candidate", "champion"):
        store.client.set_registered_model_alias(store.model, alias, "2")
    with closing(sqlite3.connect(paths.root / "mlflow.db")) as connection:  # as after a version was deleted by hand
        connection.execute("INSERT INTO registered_model_aliases (name, alias, version) VALUES ('clip', 'old', 9)")
        connection.commit()
    states = {state.subject: state for state in alias_state(Site(paths, params))}
    assert set(states) == {"alias candidate", "alias champion", "alias old"}
    for state in states.values():
        assert state.mend
        state.mend("Ada")
    assert list(alias_state(Site(paths, params))) == []
    assert store.aliases() == {}
