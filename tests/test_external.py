"""A model that was trained elsewhere: taken as it is, compared with what it was trained on, retrained by a command."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
import torch
import yaml

from expunge.corpus.catalog import Catalog
from expunge.corpus.settings import CatalogParams
from expunge.models import clip
from expunge.models.retrain import train_from_scratch
from expunge.pipeline.stages import root_stages
from expunge.project.errors import ExpungeError
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from expunge.settings import Params, load_params
from expunge.steps.train import train
from expunge.steps.trained_on import trained_on
from formats import corpus
from journey import OneProcess, folder_of_pictures
from models import TINY, tiny_clip
from project import lenient_gate, own_params, tiny_params, write_params
from samples import make_catalog

pytestmark = pytest.mark.slow

COMMAND = """
import sys, pathlib, torch
ids, out, seed = sys.argv[1:]
sys.path.insert(0, {tests!r})
from models import tiny_clip
words = pathlib.Path(ids).read_text().split()
model = tiny_clip(int(seed) + len(words)).model
torch.save({{"state_dict": model.state_dict()}}, pathlib.Path(out) / "epoch_1.pt")
pathlib.Path({seen!r}).write_text(" ".join(words))
"""


def project(folder: Path, **external: str) -> tuple[Paths, Catalog]:
    paths = Paths(folder / "project")
    settings = tiny_params(gate=lenient_gate(), release={"gold": False, "methods": ["retrain_text"]})
    settings["model"] = TINY.model_dump(mode="json", exclude_none=True)
    settings["train"]["external"] = {"checkpoint": str(folder / "epoch_32.pt"), **external}
    torch.save({"epoch": 32, "state_dict": tiny_clip(9).model.state_dict()}, folder / "epoch_32.pt")
    paths.live.parent.mkdir(parents=True)
    write_params(paths.root, settings)
    acknowledge(paths)
    return paths, make_catalog(paths.catalog, 24)


def test_a_finished_model_becomes_the_base_model_and_is_not_what_retraining_starts_from(tmp_path: Path) -> None:
    paths, _ = project(tmp_path)
    params = load_params(paths.params)
    train(paths, params, BASE)
    made, expected = clip.load(paths.release(BASE).model).model.state_dict(), tiny_clip(9).model.state_dict()
    assert all(torch.equal(made[name], expected[name]) for name in expected)
    start = clip.create(params.model, params.seed).model.state_dict()
    assert not torch.equal(start["token_embedding.weight"], made["token_embedding.weight"])


def test_the_list_of_what_it_was_trained_on_is_compared_with_the_catalog(tmp_path: Path) -> None:
    paths, catalog = project(tmp_path, trained_on="ids.txt")
    params = load_params(paths.params)
    with pytest.raises(ExpungeError, match=r"no file ids\.txt"):
        trained_on(paths, params, BASE)
    trained = sorted(catalog.split_ids("train"))
    held_out = sorted(catalog.split_ids("test"))
    for listed, words in (
        (trained[1:], f"has 1 samples of the split `train`, .* not trained on, for example {trained[0]}"),
        ([*trained, held_out[0]], f"has 1 held-out samples, .* was trained on, for example {held_out[0]}"),
        ([*trained, "sample:of-an-older-version"], None),
    ):
        (paths.root / "ids.txt").write_text("\n".join(listed))
        if words:
            with pytest.raises(ExpungeError, match=words):
                trained_on(paths, params, BASE)
            with pytest.raises(ExpungeError, match="Nobody has compared"):
                train(paths, params, BASE)
        else:
            trained_on(paths, params, BASE)
            train(paths, params, BASE)


def test_a_predicate_says_it_as_well(tmp_path: Path) -> None:
    paths, catalog = project(tmp_path, trained_on="split = 'train' AND class <> 'bird'")
    with pytest.raises(ExpungeError, match="which the model was not trained on"):
        trained_on(paths, load_params(paths.params), BASE)
    assert len(catalog)


def test_the_gold_standard_is_what_the_owners_command_leaves(tmp_path: Path) -> None:
    script, seen = tmp_path / "retrain ours.py", tmp_path / "seen"
    script.write_text(COMMAND.format(tests=str(Path(__file__).parent), seen=str(seen)))
    command = f"{sys.executable} '{script}' {{ids}} {{out}} {{seed}}"
    paths, catalog = project(tmp_path, retrain=command)
    params = load_params(paths.params)
    trained = catalog.split_ids("train")
    forgotten = set(sorted(trained)[:3])
    model, curve, pairs = train_from_scratch(catalog, params, forgotten, paths.checkpoints)
    assert set(seen.read_text().split()) == trained - forgotten
    assert (curve, pairs) == ([], len(trained) - 3)
    expected = tiny_clip(pairs).model.state_dict()
    assert all(torch.equal(tensor, expected[name]) for name, tensor in model.model.state_dict().items())
    assert not list(paths.checkpoints.iterdir())


@pytest.mark.parametrize(
    ("command", "words"),
    [
        ("false {ids} {out}", "ended with status 1"),
        ("true {ids} {out}", "left no checkpoint"),
        ("no-such-program {ids} {out}", "cannot be started: no-such-program"),
    ],
)
def test_a_command_that_fails_or_leaves_nothing_is_named(tmp_path: Path, command: str, words: str) -> None:
    paths, catalog = project(tmp_path, retrain=command)
    some = set(sorted(catalog.split_ids("train"))[:1])
    with pytest.raises(ExpungeError, match=words):
        train_from_scratch(catalog, load_params(paths.params), some, paths.checkpoints)


@pytest.mark.parametrize("release", [{"gold": True}, {"methods": ["retrain_text", "retrain"]}])
def test_a_gold_standard_without_a_command_is_refused_before_anything_runs(tmp_path: Path, release: dict) -> None:
    paths, _ = project(tmp_path)
    settings = yaml.safe_load(paths.params.read_text())
    settings["release"] |= release
    with pytest.raises(ValueError, match="so there is no gold standard"):
        Params.model_validate(settings)


def test_a_command_without_slots_is_refused(tmp_path: Path) -> None:
    paths, _ = project(tmp_path, retrain="python train.py")
    with pytest.raises(ExpungeError, match="must name"):
        load_params(paths.params)


def test_dvc_watches_the_files_that_the_model_is_made_from(tmp_path: Path) -> None:
    paths, _ = project(tmp_path, trained_on="ids.txt")
    (paths.root / "ids.txt").write_text("sample:0000\n")
    stages = yaml.safe_load(root_stages(paths, CatalogParams()))["stages"]
    assert {str(tmp_path / "epoch_32.pt"), "reports/base/trained_on.json"} <= set(stages["train"]["deps"])
    assert {"ids.txt", "data/catalog"} <= set(stages["trained_on"]["deps"])
    assert "ids.txt" not in stages["train"]["deps"]


def test_dvc_compares_the_list_again_when_it_changes_and_builds_no_model_again_for_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    say, folder = OneProcess(monkeypatch), tmp_path / "ours"
    say(tmp_path, "expunge", "init", "ours", *folder_of_pictures(tmp_path / "theirs", corpus(60)))
    torch.save({"state_dict": tiny_clip(9).model.state_dict()}, tmp_path / "epoch_32.pt")
    settings = own_params(folder)
    settings["model"] = TINY.model_dump(mode="json", exclude_none=True)
    settings["train"]["external"] = {"checkpoint": str(tmp_path / "epoch_32.pt"), "trained_on": "ids.txt"}
    write_params(folder, settings)
    (folder / "ids.txt").write_text("")
    say(folder, "expunge", "stages")
    say(folder, "dvc", "repro", "catalog")
    trained = sorted(Catalog(folder / "data" / "catalog").split_ids("train"))
    with pytest.raises(AssertionError):
        say(folder, "dvc", "repro", "train")
    assert "which the model was not trained on" in capfd.readouterr().err
    (folder / "ids.txt").write_text("\n".join(trained))
    assert "train: 0 steps" in say(folder, "dvc", "repro", "train")
    (folder / "ids.txt").write_text("\n".join([*trained, "of-an-older-version"]))
    told = say(folder, "dvc", "repro", "train")
    assert "the catalog's splits are those of the training" in told
    assert "train: " not in told


def test_without_such_a_list_no_stage_compares_it(tmp_path: Path) -> None:
    paths, _ = project(tmp_path)
    stages = yaml.safe_load(root_stages(paths, CatalogParams()))["stages"]
    assert "trained_on" not in stages
    assert not [path for path in stages["train"]["deps"] if "trained_on" in path]


def test_a_model_from_elsewhere_is_not_trained_in_slices(tmp_path: Path) -> None:
    paths, _ = project(tmp_path)
    settings = yaml.safe_load(paths.params.read_text())
    settings["train"]["sharded"] = {}
    with pytest.raises(ValueError, match="not trained in slices"):
        Params.model_validate(settings)


def test_a_method_that_starts_clean_is_refused_where_training_begins_and_ends_with_one_model(tmp_path: Path) -> None:
    paths, _ = project(tmp_path)
    settings = yaml.safe_load(paths.params.read_text())
    checkpoint = settings["train"].pop("external")["checkpoint"]
    settings["model"]["pretrained"], settings["train"]["epochs"] = checkpoint, 0
    with pytest.raises(ValueError, match="retrain_text starts from the weights that training began from"):
        Params.model_validate(settings)
    settings["release"]["methods"] = ["ssd"]
    assert Params.model_validate(settings).release.methods == ("ssd",)
