"""A short run of the hostile campaigns: hostile input, bit flips, kills and races."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from bench.hostile.flipping import Flips
from bench.hostile.killing import Kills
from bench.hostile.parsers import attack, targets
from bench.hostile.racing import Races
from bench.hostile.scene import Copies, Scene, build

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Scene:
    return build(tmp_path_factory.mktemp("hostile") / "template")


@pytest.fixture
def copies(template: Scene, tmp_path: Path) -> Copies:
    return Copies(template, tmp_path / "copy")


def test_every_reader_answers_or_refuses() -> None:
    with targets() as found:
        rows = [attack(target, 20) for target in found]
    assert {row.what: row.places for row in rows if row.failed} == {}
    assert all(row.tried == 20 for row in rows)


def test_a_flipped_bit_is_noticed_and_its_place_named(copies: Copies) -> None:
    with copies.fresh() as scene:
        flips = Flips(scene)
        outcomes = [flips.attempt(number, random.Random(number)) for number in range(15)]
    assert [outcome.faults for outcome in outcomes if outcome.faults] == []
    assert any(outcome.note == "noticed and named" for outcome in outcomes)


@pytest.mark.parametrize(
    ("job", "seconds"),
    [("intake", 0.1), ("approve", 0.2), ("import", 0.1), ("release", 2), ("purge", 5), ("backup", 0.1)],
)
def test_a_killed_job_is_done_again_and_nothing_is_lost_doubled_or_stuck(
    copies: Copies, job: str, seconds: float
) -> None:
    assert Kills(copies, job, seconds).attempt(1, random.Random(f"{job} 1")).faults == ()


@pytest.mark.parametrize("pair", [("purge", "release"), ("import", "import")])
def test_two_jobs_that_race_lose_double_and_block_nothing(copies: Copies, pair: tuple[str, str]) -> None:
    assert Races(copies, pair).attempt(0, random.Random(str(pair))).faults == ()
