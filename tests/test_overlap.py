"""How many captions a set hangs on: Kish's effective sample size over the words that captions share."""

from __future__ import annotations

import math
import shutil
from collections import defaultdict
from pathlib import Path

import pytest

from bench.forgetting.distance import GOLD
from bench.forgetting.spread import recorded_models, scenarios
from expunge.evaluation.inputs import read_inputs
from expunge.evaluation.overlap import effective_captions
from expunge.evaluation.release import judge_release
from expunge.evaluation.spread import recorded
from expunge.project.files import read_json, rounded
from expunge.project.paths import Paths
from expunge.releases.chain import load_release
from expunge.settings import Params
from expunge.steps.evaluate import evaluate
from models import tiny_clip
from project import ROOT, lenient_gate, tiny_params


def test_captions_without_a_word_in_common_count_in_full() -> None:
    assert effective_captions(tiny_clip(), ["crow", "tulip", "violin"]) == pytest.approx(3.0)


def test_one_caption_many_times_counts_once() -> None:
    assert effective_captions(tiny_clip(), ["red apple"] * 40) == pytest.approx(1.0)


def test_captions_that_share_half_of_their_words_count_as_kish_says() -> None:
    captions = ["red apple", "red balloon", "red car"]
    share = 1 / 2  # cosine of two sets of two tokens with one in common
    assert effective_captions(tiny_clip(), captions) == pytest.approx(3 / (1 + 2 * share))


def test_empty_captions_share_nothing() -> None:
    assert effective_captions(tiny_clip(), ["", "", "crow"]) == pytest.approx(3.0)


def test_sets_of_few_effective_captions_moved_most_between_recorded_retrainings(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The rule was read off these sets: between them the spread differs tenfold, in its unit by less than threefold."""
    monkeypatch.chdir(ROOT)
    found: dict[str, list[float]] = defaultdict(list)
    captions = {}
    for name in scenarios():
        for model in recorded_models(name, GOLD).values():
            found[name].append(model.metrics["forget"]["pair_similarity"])
            captions[name] = model.captions[""]
    spreads = {name: _deviation(values) for name, values in found.items() if len(values) > 2}
    assert max(spreads.values()) > 5 * min(spreads.values())
    unit = recorded().deviations["forget_similarity"]
    assert all(1 / 3 < value * math.sqrt(captions[name]) / unit < 3 for name, value in spreads.items())


@pytest.mark.slow
def test_a_release_whose_pairs_hang_on_few_captions_is_judged_beside_stand_ins(
    released: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The ladder judges first, then the evaluation: the stand-ins are trained once for both, and then removed."""
    project = shutil.copytree(released, tmp_path / "project", symlinks=True)
    paths = Paths(project)
    before = read_json(paths.release("r001").metrics)["gate"]
    gate = lenient_gate() | {"few_captions": 1000.0, "stand_ins": 2}
    params = Params.model_validate(tiny_params(gate=gate, train={"epochs": 4}))
    inputs = read_inputs(paths, params, load_release(paths, "r001"), ["base"])
    on_the_ladder = judge_release(inputs, params).verdict["gate"]
    assert len(list(inputs.stand_ins.iterdir())) == 2
    monkeypatch.setattr("expunge.evaluation.stand_ins.train_text_tower", None)
    evaluate(paths, params, "r001")
    assert not paths.stand_ins("r001").exists()
    after = read_json(paths.release("r001").metrics)["gate"]
    assert rounded(on_the_ladder) == after
    assert (before["stand_ins"], after["stand_ins"]) == (0, 2)
    assert before["reference"] == after["reference"] == "gold"
    assert after["effective_captions"].keys() == {"", "req-0001"}
    changed = {
        one["name"].partition(".")[0]
        for one, other in zip(before["checks"], after["checks"], strict=True)
        if one["reference"] != other["reference"]
    }
    assert (
        {"forget_similarity", "forget_deviation"}
        <= changed
        <= {"forget_recall", "forget_similarity", "forget_deviation"}
    )


def _deviation(values: list[float]) -> float:
    mean = sum(values) / len(values)
    return math.sqrt(sum((value - mean) ** 2 for value in values) / (len(values) - 1))
