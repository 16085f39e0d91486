"""`expunge init`: a project of one's own, from the library alone."""

from __future__ import annotations

import contextlib
import os
import pty
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from typer.testing import CliRunner

from expunge import __version__
from expunge.cli import app
from expunge.commands.own_model import profile, profiles
from expunge.commands.own_params import own_settings
from expunge.corpus.settings import CatalogParams
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.project.template import template_files
from expunge.requests.ledger import Ledger
from expunge.settings import Params, load_params
from formats import corpus, folder_csv
from project import ROOT, run, tiny_params, write_params


def started(folder: Path, *options: str) -> str:
    """Make a project in this process; returns what was printed."""
    result = CliRunner().invoke(app, ["init", str(folder), *options], catch_exceptions=False)
    return result.output


def content(folder: Path) -> dict[str, bytes]:
    return {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_project_has_everything_of_its_own_and_nothing_of_the_demo(tmp_path: Path) -> None:
    folder = tmp_path / "new" / "project"
    told = started(folder)
    for name in ("flows/release.py", "tasks/steps.py", "prefect.yaml", ".gitignore", ".dvcignore"):
        assert (folder / name).read_bytes() == (ROOT / name).read_bytes(), name
    flows = {path.name for path in (ROOT / "flows").iterdir() if path.is_file()}
    assert {path.name for path in (folder / "flows").iterdir()} == flows
    assert "job_template.json" in flows  # without it, no work pool can be made
    paths = Paths(folder)
    assert paths.library_version.read_text() == f"{__version__}\n"
    assert yaml.safe_load(paths.live.read_text()) == {"live": "base"}
    assert not list(folder.glob("releases/*/"))
    assert not (folder / "requests").exists()
    params = load_params(paths.params)
    assert params.ledger.seed is None
    assert params.model_copy(update={"ledger": params.ledger}).catalog.source == "openmoji"
    assert (folder / "data" / "ledger.db").is_file()
    assert Ledger.open(params.ledger, folder).records() == []
    assert "dvc repro" in told
    assert "params.yaml" in told
    stages = run(folder, "dvc", "stage", "list", "--name-only").stdout.split()
    assert stages == ["catalog", "train", "embed", "index", "evaluate", "report", "register", "live"]
    assert run(folder, "dvc", "config", "core.analytics").stdout.strip().lower() == "false"
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "A project")
    assert "data/ledger.db" not in run(folder, "git", "ls-files").stdout.split()
    assert "flows/release.py" in run(folder, "git", "ls-files").stdout.split()


def test_a_folder_that_has_a_project_is_refused_and_stays_as_it_is(tmp_path: Path) -> None:
    started(tmp_path / "project")
    before = content(tmp_path)
    refused = run(tmp_path, "expunge", "init", "project", "--yes", check=False)
    assert refused.returncode == 1
    assert "has a project already" in refused.stderr
    assert refused.stderr.count("\n") == 1
    assert content(tmp_path) == before


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "flows").mkdir()
    (tmp_path / "flows" / "release.py").write_text("print('mine')\n")
    with pytest.raises(ExpungeError, match=r"needs for itself: flows/release\.py"):
        started(tmp_path, "--yes")
    (tmp_path / "flows" / "release.py").unlink()
    (tmp_path / "dvc.yaml").write_text("stages:\n  mine:\n    cmd: echo mine\n")
    with pytest.raises(ExpungeError, match=r"stages of your own \(mine\)"):
        started(tmp_path, "--yes")
    assert not (tmp_path / "params.yaml").exists()
    assert "mine" in (tmp_path / "dvc.yaml").read_text()


def test_a_folder_with_files_needs_a_yes_and_a_clone_keeps_its_own_gitignore(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "--quiet")
    (tmp_path / "README.md").write_text("Ours\n")
    (tmp_path / ".gitignore").write_text("secrets.txt\n.venv/\n")
    with pytest.raises(ExpungeError, match="not empty; add --yes"):
        started(tmp_path)
    assert not (tmp_path / "dvc.yaml").exists()
    started(tmp_path, "--yes")
    lines = (tmp_path / ".gitignore").read_text().splitlines()
    assert lines[:2] == ["secrets.txt", ".venv/"]
    assert lines.count(".venv/") == 1
    assert set((ROOT / ".gitignore").read_text().split("\n")) - {""} <= set(lines)
    assert (tmp_path / "README.md").read_text() == "Ours\n"


def test_inside_of_another_git_repository_no_second_one_is_made(tmp_path: Path) -> None:
    run(tmp_path, "git", "init", "--quiet")
    started(tmp_path / "ours" / "project")
    assert not (tmp_path / "ours" / "project" / ".git").exists()
    assert "catalog" in run(tmp_path / "ours" / "project", "dvc", "stage", "list", "--name-only").stdout.split()


def test_an_interrupted_init_can_be_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "project"

    def killed(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("expunge.releases.stages.bring_up_to_date", killed)
        CliRunner().invoke(app, ["init", str(folder)])
    assert (folder / "flows").is_dir()
    assert not (folder / "params.yaml").exists()
    started(folder, "--yes")
    assert load_params(folder / "params.yaml")
    assert {".dvc/config", "dvc.yaml", ".expunge-version"} <= content(folder).keys()


def test_an_unknown_source_is_refused_with_those_there_are(tmp_path: Path) -> None:
    with pytest.raises(ExpungeError, match="unknown source 'flickr'; known are cifar10"):
        started(tmp_path / "project", "--source", "flickr")
    assert not (tmp_path / "project").exists()


def walked(value: object) -> Iterator[str]:
    """Every key and value of settings, as text."""
    if isinstance(value, dict):
        for key, item in value.items():
            yield str(key)
            yield from walked(item)
    elif isinstance(value, list):
        for item in value:
            yield from walked(item)
    else:
        yield str(value)


OF_THE_DEMO = {
    *("variant_share", "canonical_caption", "rotate_degrees", "translate", "small_pictures", "text_finish"),
    *("test_variants", "vision_cfg", "text_cfg"),
}
"""Settings that only drawings with variants and aliases, and a small network, have a use for."""


def test_a_corpus_of_ones_own_gets_nothing_that_was_made_for_emojis(tmp_path: Path) -> None:
    text = template_files()["params.yaml"].decode()
    demo, own = yaml.safe_load(text), yaml.safe_load(own_settings(text, CatalogParams(source="folder", data="x"), {}))
    assert set(walked(demo)) >= OF_THE_DEMO
    assert not [word for word in walked(own) if "emoji" in word]
    assert not OF_THE_DEMO & set(walked(own))
    assert Params.model_validate(own).model.name == "ViT-B-32"
    for block in ("seed", "compute", "embed", "index", "select", "gate", "release", "mlflow", "certificate"):
        assert own[block] == demo[block], block
    # The text tower is retrained at the rate at which it was trained.
    demo["unlearn"]["methods"]["retrain_text"]["learning_rate"] = own["train"]["learning_rate"]
    assert own["unlearn"] == demo["unlearn"]
    assert own["ledger"] == demo["ledger"] | {"seed": None}


def test_on_the_demos_corpus_only_a_named_model_changes_the_recipe() -> None:
    text = template_files()["params.yaml"].decode()
    demo, plain = yaml.safe_load(text), yaml.safe_load(own_settings(text, CatalogParams(), {}))
    assert plain == demo | {"ledger": demo["ledger"] | {"seed": None}}
    named = yaml.safe_load(own_settings(text, CatalogParams(image_size=224), {"model": {"name": "RN50"}}))
    assert named["catalog"] == demo["catalog"] | {"image_size": 224}
    assert named["train"]["templates"] == demo["train"]["templates"]
    assert "rotate_degrees" not in named["train"]
    assert Params.model_validate(named).loading.workers == 4


def test_without_a_model_one_is_told_what_will_be_trained(tmp_path: Path) -> None:
    said = folder_csv(tmp_path / "theirs", corpus(12))
    flags = ("--source", "folder", "--data", said["data"])
    assert "ViT-B-32 from random weights" in started(tmp_path / "project", *flags)
    assert "No --model" not in started(tmp_path / "another", *flags, "--model", "RN50")
    assert "No --model" not in started(tmp_path / "demo")


def test_ones_own_data_is_named_by_flags(tmp_path: Path) -> None:
    said = folder_csv(tmp_path / "theirs", corpus(12))
    flags = ("--data", said["data"], "--captions", said["captions"], "--map", "caption=title,caption=text,subject=user")
    started(tmp_path / "project", "--source", "folder", *flags)
    catalog = load_params(tmp_path / "project" / "params.yaml").catalog
    assert (catalog.source, catalog.data, catalog.captions) == ("folder", said["data"], said["captions"])
    assert catalog.map.caption == ("title", "text")
    assert catalog.map.subject == "user"
    stages = yaml.safe_load((tmp_path / "project" / "dvc.yaml").read_text())["stages"]
    assert {said["data"], said["captions"]} <= set(stages["catalog"]["deps"])
    assert "emoji" not in (tmp_path / "project" / "params.yaml").read_text()


def test_data_inside_of_the_project_is_named_from_there(tmp_path: Path) -> None:
    folder_csv(tmp_path / "project" / "ours", corpus(12))
    data = str(tmp_path / "project" / "ours" / "pictures")
    started(tmp_path / "project", "--source", "folder", "--data", data, "--yes")
    assert load_params(tmp_path / "project" / "params.yaml").catalog.data == "ours/pictures"


@pytest.mark.parametrize(
    ("flags", "message"),
    [
        (("--source", "folder"), "--data is missing"),
        (("--source", "folder", "--data", "gone"), "gone is not there"),
        (("--source", "folder", "--data", "."), "holds the project itself"),
        (("--source", "coco", "--data", "there"), "--captions is missing"),
        (("--source", "folder", "--data", "there", "--map", "colour=red"), "map.colour: extra inputs"),
        (("--source", "folder", "--data", "there", "--map", "caption"), "is no FIELD=COLUMN"),
    ],
)
def test_what_cannot_be_a_corpus_is_refused_before_anything_is_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, flags: tuple[str, ...], message: str
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "there").mkdir()
    with pytest.raises(ExpungeError, match=message):
        started(tmp_path / "project", *flags)
    assert not (tmp_path / "project").exists()


def typed(folder: Path, answers: list[str], *options: str) -> tuple[str, int]:
    """Run `expunge init project` on a terminal of its own and type `answers`; what it showed, and its exit status."""
    controller, terminal = pty.openpty()
    command = [sys.executable, "-c", "from expunge.cli import main; main()", "init", "project", *options]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "COLUMNS": "200"}
    process = subprocess.Popen(
        command, cwd=folder, env=environment, stdin=terminal, stdout=terminal, stderr=terminal, start_new_session=True
    )
    os.close(terminal)
    os.write(controller, "".join(f"{answer}\n" for answer in answers).encode())
    shown = b""
    with contextlib.suppress(OSError):  # how the end of a terminal reads
        while piece := os.read(controller, 4096):
            shown += piece
    os.close(controller)
    return shown.decode(), process.wait(60)


@pytest.mark.slow
def test_on_a_terminal_what_was_not_said_is_asked_for_and_a_wrong_answer_asked_for_again(tmp_path: Path) -> None:
    said = folder_csv(tmp_path / "theirs", corpus(12))
    (tmp_path / "epoch_32.pt").write_bytes(b"")
    weights = str(tmp_path / "epoch_32.pt")
    answers = ["foldr", "folder", "gone", said["data"], said["captions"], "RN-50", "RN50", weights, "tpu", "cpu"]
    shown, status = typed(tmp_path, answers)
    assert status == 0, shown
    for complaint in ("unknown source 'foldr'", "gone is not there", "open_clip lists no 'RN-50'", "'tpu' is none of"):
        assert complaint in shown
    params = load_params(tmp_path / "project" / "params.yaml")
    assert (params.catalog.source, params.catalog.data, params.catalog.captions) == tuple(said.values())
    assert (params.model.name, params.model.pretrained, params.compute.device) == ("RN50", weights, "cpu")


@pytest.mark.slow
def test_where_the_flags_say_everything_a_terminal_is_asked_nothing(tmp_path: Path) -> None:
    said = folder_csv(tmp_path / "theirs", corpus(12))
    (tmp_path / "epoch_32.pt").write_bytes(b"")
    flags = [f"--{name}={value}" for name, value in said.items()]
    shown, status = typed(
        tmp_path, [], *flags, "--model=RN50", f"--pretrained={tmp_path / 'epoch_32.pt'}", "--device=auto"
    )
    assert status == 0, shown
    assert "?" not in shown


def made(folder: Path, *options: str) -> Params:
    started(folder, *options)
    return load_params(folder / "params.yaml")


def test_the_model_its_weights_and_the_device_are_options(tmp_path: Path) -> None:
    (tmp_path / "epoch_32.pt").write_bytes(b"")
    options = ("--model", "RN50", "--pretrained", str(tmp_path / "epoch_32.pt"), "--device", "cpu")
    params = made(tmp_path / "project", *options)
    assert (params.model.name, params.model.pretrained) == ("RN50", str(tmp_path / "epoch_32.pt"))
    assert params.model.embed_dim is None
    assert params.compute.device == "cpu"
    assert (params.train.epochs, params.train.learning_rate) == (5, 0.00001)
    assert params.unlearn.methods["retrain_text"]["learning_rate"] == 0.00001
    assert (params.train.small_pictures, params.train.text_finish) == (None, None)  # they are the demo's network's
    assert params.train.aug_cfg is not None
    assert params.catalog.image_size == 224
    stages = yaml.safe_load((tmp_path / "project" / "dvc.yaml").read_text())["stages"]
    assert str(tmp_path / "epoch_32.pt") in stages["train"]["deps"]
    text = (tmp_path / "project" / "params.yaml").read_text()
    assert "of retrainings about each other" in text  # the comments of what was not changed


@pytest.mark.parametrize(
    ("options", "words"),
    [
        (("--model", "RN-50"), "open_clip lists no 'RN-50'; the closest are 'RN50"),
        (("--model", "RN50", "--pretrained", "epoch_99.pt"), "no file epoch_99.pt, and no such tag of RN50"),
        (("--pretrained", "epoch_99.pt"), "--pretrained needs --model"),
        (("--device", "tpu"), "none of auto, cpu, cuda"),
        (("--profile", "flickr"), "known are cc12m, cifar100-cliperase, flickr30k, openmoji, products"),
    ],
)
def test_a_model_that_is_not_there_is_refused_before_anything_is_made(
    tmp_path: Path, options: tuple[str, ...], words: str
) -> None:
    with pytest.raises(ExpungeError) as caught:
        started(tmp_path / "project", *options)
    assert words in str(caught.value)
    assert not (tmp_path / "project").exists()


def test_every_profile_is_valid_settings(tmp_path: Path) -> None:
    template = template_files()["params.yaml"].decode()

    def settings(changes: dict) -> Params:
        catalog = CatalogParams.model_validate(changes.get("catalog", {}))
        return Params.model_validate(yaml.safe_load(own_settings(template, catalog, changes)))

    found = {name: settings(profile(name)) for name in profiles()}
    cifar = found["cifar100-cliperase"]
    assert cifar.model.name == "ViT-L-14-336-quickgelu"
    assert cifar.unlearn.methods["cliperase"]["learning_rate"] == 1e-6
    assert (
        cifar.unlearn.methods["cliperase"] | {"learning_rate": 1e-8} == found["flickr30k"].unlearn.methods["cliperase"]
    )
    assert all(one.train.text_finish is None for name, one in found.items() if name != "openmoji")
    assert found["openmoji"].train == load_params(ROOT / "params.yaml").train
    assert found["products"].train.templates == ("{caption}", "a photo of {caption}", "{class}")


def test_a_profile_names_the_source_and_an_option_goes_before_it(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    options = ("--profile", "products", "--data", str(tmp_path / "data"), "--model", "RN50")
    params = made(tmp_path / "project", *options)
    assert (params.catalog.source, params.catalog.rows_per_shard) == ("table", 4096)
    assert (params.model.name, params.model.pretrained) == ("RN50", None)


@pytest.mark.slow
@pytest.mark.timeout(900)
def test_a_new_project_builds_its_base_model(tmp_path: Path) -> None:
    project = tmp_path / "project"
    run(tmp_path, "expunge", "init", "project")
    write_params(project, tiny_params(ledger={"seed": None}))
    run(project, "dvc", "repro", "--quiet")
    assert "up to date" in run(project, "dvc", "status").stdout
    assert "base" in run(project, "expunge", "status").stdout
    assert "path: expunge/" not in (project / "dvc.lock").read_text()
