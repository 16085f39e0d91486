"""`expunge examine` asks a release the further questions, and says so where it cannot."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from expunge.cli import app
from expunge.corpus.catalog import Catalog
from expunge.examination.answers import figures
from expunge.examination.release import examine_release
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.paths import Paths
from expunge.selection.sets import read_forget
from expunge.settings import load_params

pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
QUESTIONS = {
    "image_retrieval",
    "features",
    "few_shot",
    "kept_vectors",
    "conditioning",
    "surrogates",
    "membership",
    "relearning",
    "int8",
    "similarity_to_gold",
    "traces",
    "old_model",
}


@pytest.fixture(scope="module")
def answered(released: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The answers as the command writes them."""
    out = tmp_path_factory.mktemp("answers") / "r001.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(released)
        result = CliRunner().invoke(app, ["examine", "r001", "--json", "--out", str(out)], catch_exceptions=False)
    assert json.loads(result.stdout) == read_json(out)
    return out


def test_every_model_answers_every_question(answered: Path) -> None:
    found = read_json(answered)
    assert set(found["models"]) == {"original", "unlearned", "retrained"}
    for name, answers in found["models"].items():
        assert set(answers) == QUESTIONS, name
    gold = figures(found["models"]["retrained"])
    assert gold["similarity_to_gold.forget.image_cka"] == pytest.approx(1)
    assert figures(found["models"]["unlearned"])["similarity_to_gold.forget.text_cka"] < 1
    assert found["scores"]["tow"] is not None
    assert found["entanglement"] > 0
    before = figures(found["models"]["original"])
    assert before["kept_vectors.old_texts.raw"] == pytest.approx(before["kept_vectors.old_texts.aligned"])
    assert {f"few_shot.{group}.probe_auc" for group in ("forget", "control")} <= set(before)
    assert "relearning.benign.after" in before


def test_the_answers_hold_nothing_of_what_was_forgotten(released: Path, answered: Path) -> None:
    paths, text = Paths(released), answered.read_text()
    catalog = Catalog(paths.catalog)
    for row in read_forget(paths.release("r001").forget):
        caption = catalog.metadata["caption"][catalog.row_of[row.sample_id]].as_py()
        assert row.sample_id not in text
        assert caption not in text


def test_the_base_model_has_nothing_to_be_asked_about(released: Path) -> None:
    with pytest.raises(ExpungeError, match="name a release"):
        examine_release(Paths(released), load_params(released / "params.yaml"), "base")


def test_without_the_extra_the_generator_question_is_refused_before_anything_is_computed(
    released: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "diffusers", None)
    with pytest.raises(ExpungeError, match=r"expunge\[diffusion\]"):
        examine_release(Paths(released), load_params(released / "params.yaml"), "r001", "/nowhere")
