"""Forgetting quality as an ε: what its arithmetic says of distributions that are known."""

from __future__ import annotations

import math
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import normalize

from bench.forgetting import results, small_tables
from bench.forgetting.epsilon import DELTA, EPSILON, SCENARIO, confidences, epsilon, quality, summary
from expunge.embeddings.gallery import Gallery


def drawn(seed: int, count: int = 32) -> np.ndarray:
    return np.random.default_rng(seed).normal(size=count)


def test_models_that_an_attack_separates_have_an_infinite_epsilon() -> None:
    assert epsilon(drawn(0), drawn(1) + 20) == math.inf
    assert quality([math.inf], 32) == 0


def test_a_peak_in_the_midst_of_the_retrainings_is_found_by_an_interval() -> None:
    """No threshold on one side finds it."""
    spread = np.concatenate([np.linspace(-3, -1, 16), np.linspace(1, 3, 16)])
    assert epsilon(np.linspace(-0.1, 0.1, 32), spread) == math.inf


def test_epsilon_of_known_error_rates() -> None:
    unlearned, retrained = np.repeat([0.0, 1.0], [28, 4]), np.repeat([0.0, 1.0], [8, 24])
    missed, alarms = 4 / 32, 8 / 32
    expected = max(math.log((1 - DELTA - alarms) / missed), math.log((1 - DELTA - missed) / alarms))
    assert epsilon(unlearned, retrained) == pytest.approx(expected)
    assert epsilon(unlearned, unlearned) == 0


def test_an_attack_that_errs_on_one_side_only_says_nothing() -> None:
    """One of 32 retrainings lies apart: its rate is an accident of so few models."""
    same = np.zeros(32)
    assert epsilon(same, np.concatenate([np.zeros(31), [5.0]])) == 0


def test_the_same_distribution_has_a_smaller_epsilon_than_a_shifted_one() -> None:
    pairs = range(20)
    same = [epsilon(drawn(pair), drawn(100 + pair)) for pair in pairs]
    shifted = [epsilon(drawn(pair), drawn(100 + pair) + 1.5) for pair in pairs]
    assert np.median(same) < np.median(shifted)
    assert quality(same, 32) > quality(shifted, 32)


def test_quality_halves_with_every_half_of_epsilon_and_ends_at_what_the_models_can_show() -> None:
    assert quality([0.0, 0.49], 32) == 1
    assert quality([0.5], 32) == 0.5
    assert quality([1.2], 32) == 0.25
    assert quality([4.1], 32) == 0


def test_a_confidence_is_the_logit_of_finding_the_caption() -> None:
    images, texts = (
        normalize(torch.randn(9, 4, generator=torch.Generator().manual_seed(seed)), dim=1) for seed in (0, 1)
    )
    share = torch.softmax(7.0 * images @ texts.T, dim=1).diagonal()[[2, 5]].double()
    expected = (share.log() - (1 - share).log()).tolist()
    assert confidences(Gallery(images, texts, 7.0), np.array([2, 5])) == pytest.approx(expected, rel=1e-4)


def test_the_table_reads_other_retrainings_and_methods_against_the_retrainings(tmp_path: Path) -> None:
    def line(method: str, seed: int, shift: float) -> results.Result:
        numbers = (np.random.default_rng(seed).normal(size=5) + shift).tolist()
        content = {"confidences": numbers, "metrics": {"forget": {"pair_similarity": 0.1}}, "seconds": 2.0}
        return results.Result(SCENARIO, EPSILON, method, seed, content, {})

    lines = [line("gold", seed, 0) for seed in range(32)] + [line("ssd", 2000 + seed, 9) for seed in range(32)]
    results.record(lines + [line("retrained again", 1000 + seed, 0) for seed in range(32)], tmp_path)
    page = small_tables.epsilon_section(tmp_path)
    assert "32 unlearned models from 32 retrainings" in page
    assert "| `ssd` | 32 | **0.000** | ∞ | 1.00 |" in page
    assert small_tables.epsilon_section(tmp_path / "nothing") == ""
    again, ssd = summary(tmp_path)
    assert (again["model"], ssd["model"]) == ("retrained again", "ssd")
    assert ssd["quality"] == 0 < again["quality"]
    assert ssd["separated"] == 1
