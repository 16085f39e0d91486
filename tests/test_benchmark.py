"""The benchmark measures what production builds, and keeps its results so that no run is lost."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path

import pytest

from bench.forgetting import exact, results
from bench.forgetting.models import Workplace
from bench.forgetting.results import RUN, Result
from bench.forgetting.run import Bench, complete
from bench.forgetting.scenarios import SCENARIOS
from expunge.models.clip import model_digest
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, rounded
from expunge.project.paths import Paths
from expunge.settings import Params
from project import lenient_gate, tiny_params

SCENARIO, METHOD = SCENARIOS["large_class"], "cliperase_calibrated"
pytestmark = [pytest.mark.slow, pytest.mark.timeout(1800)]
FIGURES = ("forget", "neighbours", "retain", "test", "mia_auc")


@pytest.fixture(scope="module")
def params() -> Params:
    return Params.model_validate(tiny_params(gate=lenient_gate(), train={"epochs": 4}))


@pytest.fixture(scope="module")
def bench(params: Params, tmp_path_factory: pytest.TempPathFactory) -> Bench:
    folder = tmp_path_factory.mktemp("bench")
    return Bench(Workplace(params, folder / "work"), SCENARIO, folder / "results")


@pytest.fixture(scope="module")
def measured(bench: Bench) -> dict[str, Result]:
    complete(bench, METHOD)
    return {result.method: result for result in results.read(SCENARIO.name, bench.folder)}


def test_the_benchmark_ends_with_the_model_of_the_pipeline(measured: dict[str, Result], released: Path) -> None:
    assert measured[METHOD].content["model_digest"] == model_digest(Paths(released).release("r001").model)
    assert measured[METHOD].content["values"] == read_json(Paths(released).release("r001").unlearning)["parameters"]


@pytest.mark.parametrize(("method", "block"), [("original", "original"), (METHOD, "unlearned"), ("gold", "retrained")])
def test_the_benchmark_finds_the_figures_of_the_pipeline(
    measured: dict[str, Result], released: Path, method: str, block: str
) -> None:
    expected = rounded(read_json(Paths(released).release("r001").metrics)["models"][block], 6)
    found = measured[method].content["metrics"]
    assert {name: found[name] for name in FIGURES} == {name: expected[name] for name in FIGURES}
    assert found["unguarded"]["count"] > 0


def test_a_line_says_where_it_comes_from_and_a_second_run_measures_nothing(
    bench: Bench, measured: dict[str, Result], monkeypatch: pytest.MonkeyPatch
) -> None:
    source = measured[METHOD].source
    assert source["store"] == "float16"
    assert source["machine"]["cores"] > 0
    assert source["command"]
    assert source["commit"]
    before = (bench.folder / f"{SCENARIO.name}.jsonl").read_bytes()
    monkeypatch.setattr(Bench, "forget", lambda *_: pytest.fail("it was measured before"))
    complete(bench, METHOD)
    assert (bench.folder / f"{SCENARIO.name}.jsonl").read_bytes() == before


def test_later_releases_of_a_sequence_go_on_from_the_earlier_ones(bench: Bench) -> None:
    half = sorted(bench.forgotten)[: len(bench.forgotten) // 2]
    in_turn = Bench(bench.place, SCENARIO, bench.folder)
    in_turn.__dict__["releases"] = [set(half), bench.forgotten - set(half)]
    by_turns, at_once = in_turn.forget("finetune"), bench.forget("finetune")
    assert by_turns.digest != at_once.digest
    assert in_turn.sets.groups["forget"].tolist() == bench.sets.groups["forget"].tolist()
    assert by_turns.cost["unlearn_seconds"] > 0


def test_exact_unlearning_is_measured_before_and_after(bench: Bench) -> None:
    found = exact.measure_probe(bench)
    assert found["greatest_difference"] < 1e-8
    assert found["cost"]["unlearn_seconds"] > 0
    found = exact.measure_sharded(bench)
    assert found["metrics"]["forget"]["count"] == found["original"]["forget"]["count"] == len(bench.forgotten)
    assert 0 < found["cost"]["retrained_slices"] <= found["cost"]["slices"]
    assert found["metrics"]["forget"] != found["original"]["forget"]


def result(method: str, seed: int, figure: float) -> Result:
    return Result("random", RUN, method, seed, {"figure": figure}, {"machine": {}, "command": None})


def test_lines_are_sorted_and_a_run_that_is_repeated_replaces_its_line(tmp_path: Path) -> None:
    results.record([result("b", 1, 0.1), result("b", 0, 0.2), result("a", 2, 0.3)], tmp_path)
    results.record(result("b", 0, 0.1 + 0.2), tmp_path)
    found = results.read("random", tmp_path)
    assert [(one.method, one.seed, one.content["figure"]) for one in found] == [
        ("a", 2, 0.3),
        ("b", 0, 0.1 + 0.2),
        ("b", 1, 0.1),
    ]


def record_many(folder: Path, method: str) -> None:
    for seed in range(20):
        results.record(result(method, seed, 0.5), folder)


def test_runs_that_write_at_once_lose_no_line(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=record_many, args=(tmp_path, name)) for name in ("a", "b")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
        assert writer.exitcode == 0
    assert len(results.read("random", tmp_path)) == 40


def test_a_damaged_line_is_named(tmp_path: Path) -> None:
    results.record(result("a", 0, 0.5), tmp_path)
    path = tmp_path / "random.jsonl"
    path.write_text(path.read_text() + json.dumps({"kind": RUN}) + "\n")
    with pytest.raises(ExpungeError, match=r"random\.jsonl, line 2"):
        results.read("random", tmp_path)
