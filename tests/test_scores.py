"""The single figures agree with a calculation by hand, and are silent where a yardstick is missing."""

from __future__ import annotations

from typing import Any

import pytest

from expunge.examination.scores import scores


def block(forget: float, retain: float, test: float, mia_auc: float) -> dict[str, Any]:
    recalls = {"forget": forget, "retain": retain, "test": test}
    return {name: {"image_to_text_r1": recall} for name, recall in recalls.items()} | {"mia_auc": mia_auc}


ORIGINAL = block(0.9, 0.8, 0.3, 0.95)
UNLEARNED = block(0.1, 0.7, 0.2, 0.6)
GOLD = block(0.0, 0.8, 0.25, 0.4)


def test_scores_by_hand() -> None:
    assert scores(ORIGINAL, UNLEARNED, GOLD) == {
        "average_gap": pytest.approx(100 * (0.1 + 0.1 + 0.05 + 0.2) / 4),
        "tow": pytest.approx(0.9 * 0.9 * 0.95),
        "tow_mia": pytest.approx(0.8 * 0.9 * 0.95),
        "h_mean": pytest.approx(2 * 0.7 * 0.8 / (0.7 + 0.8)),
        "nomus": pytest.approx(0.5 * 0.2 + 0.5 * 0.8),
    }


def test_the_gold_standard_itself_scores_best() -> None:
    found = scores(ORIGINAL, GOLD, GOLD)
    assert (found["average_gap"], found["tow"], found["tow_mia"]) == (0, 1, 1)


def test_learning_more_of_the_forget_set_is_no_forgetting() -> None:
    assert scores(UNLEARNED, ORIGINAL, None)["h_mean"] == 0


def test_without_yardstick_no_figure() -> None:
    alone = scores(ORIGINAL, UNLEARNED, None)
    assert {name for name, value in alone.items() if value is None} == {"average_gap", "tow", "tow_mia"}
    unattacked = {name: value for name, value in UNLEARNED.items() if name != "mia_auc"}
    found = scores(ORIGINAL, unattacked, GOLD)
    assert {name for name, value in found.items() if value is None} == {"average_gap", "tow_mia", "nomus"}
