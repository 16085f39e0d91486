"""Two judges, with and without a gold standard: how their agreement is counted, and in which unit they read."""

from __future__ import annotations

import math
from pathlib import Path
from statistics import pstdev

import pytest

from bench.forgetting import agreement, results, small_tables
from bench.forgetting.agreement import AGREEMENT, RETRAINED, SCENARIO, UNTOUCHED
from bench.forgetting.epsilon import AGAIN, EPSILON
from expunge.project.errors import ExpungeError

GROUPS = ("forget", "neighbours", "retain", "test")


def block(value: float) -> dict[str, object]:
    figures = {"count": 20, "image_to_text_r1": value, "text_to_image_r1": value, "pair_similarity": value}
    return {group: figures | {"pair_similarity_sd": 0.2} for group in GROUPS} | {"mia_auc": 0.5 + value}


def line(kind: str, method: str, seed: int, content: dict[str, object]) -> results.Result:
    return results.Result(SCENARIO, kind, method, seed, content, {})


def test_the_spread_is_that_of_the_retrainings_that_were_measured(tmp_path: Path) -> None:
    values = [0.1 * number for number in range(8)]
    lines = [
        line(EPSILON, AGAIN if number % 2 else "gold", number, {"metrics": block(value)})
        for number, value in enumerate(values)
    ]
    results.record([*lines, line(EPSILON, "ssd", 99, {"metrics": block(5.0)})], tmp_path)
    found = agreement.small_spread(4.0, tmp_path)
    assert found.deviations["retain_recall"] == pytest.approx(pstdev(values))
    assert found.of_difference("membership", 1, 4.0) == pytest.approx(pstdev(values) * math.sqrt(2 * 8 / 7))
    with pytest.raises(ExpungeError, match="Measure retrainings first"):
        agreement.small_spread(4.0, tmp_path / "nothing")


def test_agreement_is_counted_and_so_is_the_way_it_errs(tmp_path: Path) -> None:
    def judged(method: str, seed: int, gold: bool, estimate: bool) -> results.Result:
        verdict = {"gold": {"passed": gold, "failed": []}, "estimate": {"passed": estimate, "failed": []}}
        return line(AGREEMENT, method, seed, verdict)

    lines = [judged(RETRAINED, 0, True, True), judged(RETRAINED, 1, True, False), judged(UNTOUCHED, 0, False, True)]
    results.record(lines, tmp_path)
    page = small_tables.agreement_section(tmp_path, tmp_path / "nothing")
    assert "agree on 1 of 3" in page
    assert "| untouched | 1 | 0 | 1 | 0 | 1 | 0 |" in page
    retrained, untouched = agreement.summary(tmp_path)
    assert (retrained["by_gold"], retrained["by_estimate"], retrained["agreed"]) == (2, 1, 1)
    assert (retrained["refused_wrongly"], retrained["passed_wrongly"]) == (1, 0)
    assert (untouched["passed_wrongly"], untouched["agreed"]) == (1, 0)
