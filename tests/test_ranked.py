"""The ranking takes the best that each method's search found, and ranks by sets that nothing was searched on."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench.forgetting import ranked, results, small_tables, tune
from bench.forgetting.results import RUN, Result
from bench.forgetting.scenarios import REPORTED, VALIDATION


def run(method: str, seed: int, gap: float) -> Result:
    distance = dict.fromkeys(ranked.ALL, 0.1) | {"average_gap": gap}
    cost = {"unlearn_seconds": 2.0, "retrain_seconds": 20.0}
    return Result("random", RUN, method, seed, {"values": {}, "distance": distance, "cost": cost}, {})


def test_of_each_method_the_search_that_ended_lowest_is_taken(tmp_path: Path) -> None:
    for tower, best in (("all", 9.0), ("text", 4.0)):
        content = {"tower": tower, "best": best, "values": {"steps": best}}
        results.record(Result(tune.MEDIUM, tune.TUNING, f"finetune, {tower}", 0, content, {}), tmp_path)
    [chosen] = ranked.searched(tmp_path)
    assert chosen.content["tower"] == "text"


def test_nothing_that_was_searched_on_is_ranked_on() -> None:
    assert set(ranked.SETS) <= {one.name for one in REPORTED}
    assert not set(ranked.SETS) & {one.name for one in VALIDATION}


def test_methods_are_ranked_by_their_mean_gap_beside_retrainings(tmp_path: Path) -> None:
    results.record([run("ssd", 0, 5.0), run("ssd", 1, 7.0), run(ranked.AGAIN, 0, 2.0)], tmp_path)
    first, second = ranked.ranking(tmp_path)
    assert (first["method"], second["method"]) == (ranked.AGAIN, "ssd")
    assert (second["runs"], second["average_gap"]) == (2, 6.0)
    assert second["cheaper"] == pytest.approx(10.0)
    page = small_tables.ranked_section(tmp_path)
    assert "| `ssd` | 2 | **6.0** |" in page
    assert "*retrained with another seed* | 1 | **2.0**" in page


def test_without_results_there_is_no_section(tmp_path: Path) -> None:
    assert small_tables.ranked_section(tmp_path) == ""
