"""The judge says no to every impostor, and yes only to a model that looks like one that never saw the data."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch

from expunge.embeddings.gallery import Gallery, match
from expunge.evaluation import membership, retrieval
from expunge.evaluation.gate import judge
from expunge.settings import load_params
from project import ROOT

GATE = load_params(ROOT / "params.yaml").gate


def block(recall: float, similarity: float) -> dict[str, float]:
    return {"count": 20, "image_to_text_r1": recall, "pair_similarity": similarity, "pair_similarity_sd": 0.1}


ORIGINAL = {
    "forget": block(0.85, 0.9),
    "neighbours": block(0.8, 0.9),
    "retain": block(0.7, 0.9),
    "test": block(0.2, 0.7),
    "mia_auc": 0.99,
}
GOLD = ORIGINAL | {"forget": block(0.0, 0.3), "mia_auc": 0.3}


def changed(**blocks: Any) -> dict[str, Any]:
    return copy.deepcopy(GOLD) | blocks


def verdict(unlearned: dict[str, Any], gold: dict[str, Any] | None = GOLD) -> tuple[bool, str, set[str]]:
    found = judge(GATE, ORIGINAL, unlearned, gold, expected_similarity=0.31)
    failed = {check["name"] for check in found["gate"]["checks"] if not check["passed"]}
    return found["gate"]["passed"], found["diagnosis"], failed


def test_the_gold_standard_itself_passes_and_is_called_effective() -> None:
    assert verdict(changed()) == (True, "effective", set())


def test_an_untouched_model_fails() -> None:
    passed, diagnosis, failed = verdict(ORIGINAL)
    assert (passed, diagnosis) == (False, "ineffective")
    assert {"forget_recall", "forget_similarity", "membership"} <= failed


def test_a_model_that_forgot_the_wrong_class_fails() -> None:
    passed, diagnosis, failed = verdict(ORIGINAL | {"neighbours": block(0.1, 0.4)})
    assert (passed, diagnosis) == (False, "ineffective")
    assert "neighbour_recall" in failed


def test_a_destroyed_model_fails_as_catastrophic() -> None:
    wreck = {name: block(0.0, 0.3) for name in ("forget", "neighbours", "retain", "test")} | {"mia_auc": 0.3}
    passed, diagnosis, failed = verdict(wreck)
    assert (passed, diagnosis) == (False, "catastrophic")
    assert "retain_recall" in failed


def test_a_model_pushed_to_negative_similarity_fails_as_over_generalised() -> None:
    passed, diagnosis, failed = verdict(changed(forget=block(0.0, -0.3), mia_auc=0.01))
    assert (passed, diagnosis) == (False, "over-generalised")
    assert "forget_similarity" in failed


def test_recall_that_the_gold_standard_has_as_well_is_not_held_against_a_model() -> None:
    gold = GOLD | {"forget": block(0.1, 0.3)}
    assert verdict(changed(forget=block(0.1, 0.3)), gold)[0]
    assert "forget_recall" in verdict(changed(forget=block(0.2, 0.3)), gold)[2]
    assert "forget_recall" in verdict(changed(forget=block(0.1, 0.31)), None)[2]


def test_chance_excuses_forgetting_too_much_but_never_too_little() -> None:
    spread = GOLD | {"forget": block(0.0, 0.3) | {"pair_similarity_sd": 0.3}}
    few = block(0.0, 0.2)
    assert verdict(changed(forget=few), spread)[0]
    assert verdict(changed(forget=few | {"count": 2000}), spread)[1] == "over-generalised"
    assert verdict(changed(forget=block(0.0, 0.4)), spread)[1] == "ineffective"


def test_lost_neighbours_fail_as_over_generalised() -> None:
    assert verdict(changed(neighbours=block(0.5, 0.7)))[:2] == (False, "over-generalised")


def test_without_a_gold_standard_the_verdict_says_that_it_rests_on_an_estimate() -> None:
    found = judge(GATE, ORIGINAL, changed(mia_auc=0.45), None, expected_similarity=0.31)
    assert found["gate"]["reference"] == "estimate"
    assert found["gate"]["passed"]
    assert verdict(ORIGINAL, gold=None)[0] is False


@pytest.mark.parametrize("rows", [[0, 1, 2, 3]])
def test_recall_counts_right_answers_against_the_full_gallery(rows: list[int]) -> None:
    images = torch.eye(4)
    texts = torch.eye(4)[[1, 0, 2, 3]]
    found = retrieval.recall(match(Gallery(images, texts, 10.0)), torch.tensor(rows))
    assert found["image_to_text_r1"] == 0.5
    assert found["image_to_text_r5"] == 1.0


def test_a_collapsed_model_finds_nothing_although_all_scores_are_equal() -> None:
    same = torch.ones(20, 4) / 2
    assert retrieval.recall(match(Gallery(same, same, 10.0)), torch.arange(20))["image_to_text_r10"] == 0.0


def test_the_membership_attack_reads_one_on_memorised_pairs_and_a_half_on_equal_ones() -> None:
    images = torch.nn.functional.normalize(torch.randn(60, 16, generator=torch.Generator().manual_seed(0)), dim=1)
    noise = torch.nn.functional.normalize(torch.randn(60, 16, generator=torch.Generator().manual_seed(1)), dim=1)
    texts = torch.cat([images[:30], noise[30:]])
    members, strangers = torch.arange(30), torch.arange(30, 60)
    assert membership.attack_auc(match(Gallery(images, texts, 20.0)), members, strangers) > 0.99
    alike = match(Gallery(images, noise, 20.0))
    assert 0.3 < membership.attack_auc(alike, members, strangers) < 0.7
