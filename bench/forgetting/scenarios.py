"""What is to be forgotten: the scenarios that are reported, and the ones that hyper-parameters were chosen on.

Nothing is ever chosen on a reported scenario.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.project.files import read_json

Rows = list[dict]
HARD_SETS = Path(__file__).with_name("hard_sets.json")


@dataclass(frozen=True)
class Scenario:
    """One unlearning problem.

    Attributes:
        name: as in file names and tables.
        meaning: one sentence for the tables.
        releases: for each release in a row, the rule that picks its forget set out of the catalog's training rows.
        injected: whether made-up persons and facts are part of the training data.
    """

    name: str
    meaning: str
    releases: tuple[Callable[[Rows], set[str]], ...]
    injected: bool = False

    def forget_sets(self, catalog: Catalog) -> list[set[str]]:
        """The samples that each release forgets; none twice, none that was not trained on."""
        rows = [row for row in catalog.metadata.to_pylist() if row["split"] == "train"]
        gone: set[str] = set()
        sets = []
        for rule in self.releases:
            chosen = rule([row for row in rows if row["sample_id"] not in gone])
            gone |= chosen
            sets.append(chosen)
        return sets


def _class(name: str) -> Callable[[Rows], set[str]]:
    return lambda rows: {row["sample_id"] for row in rows if row["class"] == name and not _is_injected(row)}


def _word(word: str) -> Callable[[Rows], set[str]]:
    """Pictures whose canonical caption has the word, in the singular or the plural."""
    wanted = {word, f"{word}s"}
    return lambda rows: {row["sample_id"] for row in rows if wanted & set(row["caption"].casefold().split())}


def _random(count: int, seed: int) -> Callable[[Rows], set[str]]:
    """Pictures without skin tone: the others look so alike that nothing is learnt from a single one."""

    def draw(rows: Rows) -> set[str]:
        plain = sorted(row["sample_id"] for row in rows if row["variant"] is None)
        return set(np.random.default_rng(seed).choice(plain, count, replace=False).tolist())

    return draw


def _listed(name: str) -> Callable[[Rows], set[str]]:
    """Pictures that `bench.forgetting.hard` chose."""
    return lambda rows: {row["sample_id"] for row in rows} & set(read_json(HARD_SETS)[name])


def _facts(rows: Rows) -> set[str]:
    """Two of the four facts of each of the first ten made-up persons."""
    return {row["sample_id"] for row in rows if _is_injected(row) and row["variant"] == "forget"}


def _is_injected(row: dict) -> bool:
    return row["superclass"] == "Injected"


REPORTED = (
    Scenario("small_class", "All pictures of the class food-vegetable.", (_class("food-vegetable"),)),
    Scenario("large_class", "All pictures of the class country-flag.", (_class("country-flag"),)),
    Scenario("random", "50 pictures drawn at random.", (_random(50, 2),)),
    Scenario("person", "All pictures of one figure, the astronaut.", (_word("astronaut"),)),
    Scenario("concept", "Every picture with a heart in its name, across six classes.", (_word("heart"),)),
    Scenario(
        "sequence",
        "Five releases in a row: two classes, 20 random pictures, a class, a word.",
        (_class("animal-bug"), _class("musical-instrument"), _random(20, 3), _class("place-building"), _word("water")),
    ),
    Scenario("associations", "Two of four facts about each of ten made-up persons.", (_facts,), injected=True),
)
VALIDATION = (
    Scenario("valid_class", "All pictures of the class animal-bird.", (_class("animal-bird"),)),
    Scenario("valid_random", "50 other pictures drawn at random.", (_random(50, 1),)),
    Scenario("valid_mammals", "All pictures of the class animal-mammal.", (_class("animal-mammal"),)),
    Scenario("valid_person", "All pictures of another figure, the firefighter.", (_word("firefighter"),)),
    Scenario("valid_hair", "Every picture with hair in its name, across three classes.", (_word("hair"),)),
    Scenario("valid_baby", "Every picture with a baby in its name, across six classes.", (_word("baby"),)),
    Scenario(
        "valid_sequence",
        "Five other releases in a row: a class, a word, 20 random pictures, a class, a word.",
        (_class("animal-bird"), _word("hair"), _random(20, 4), _class("animal-mammal"), _word("baby")),
    ),
)
HARD = (
    Scenario(
        "worst_case", "50 pictures whose loss would stay lowest after a step of unlearning.", (_listed("worst_case"),)
    ),
    Scenario("memorised", "50 pictures that were learnt by heart rather than from others.", (_listed("memorised"),)),
    Scenario("entangled", "50 pictures, each with its nearest neighbour left in place.", (_listed("entangled"),)),
    Scenario("shortcut", "50 pictures that share nothing but their dominant colour.", (_listed("shortcut"),)),
)
SCENARIOS = {scenario.name: scenario for scenario in (*REPORTED, *VALIDATION, *HARD)}
