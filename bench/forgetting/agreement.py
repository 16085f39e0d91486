"""How often do two judges agree: one that has the gold standard, and one that makes do with stand-ins?

Every real user without a gold standard relies on the second. For each seed the same models go before both: those of
some methods, a true retraining with another seed, and impostors that no judge may pass: the original as it was, and the
gold standard with the original's text tower put back. `python -m bench.forgetting.agreement` measures what is missing
on the small corpus of `bench.forgetting.small`, in units of what retrainings on that corpus differ by, which
`bench.forgetting.epsilon` has measured, and records one line a model in bench/results/agreement/. With `--whole` it is
the whole corpus and the spread that the library comes with; lines go to bench/results/agreement-whole/. A second seed
is that of the true retrainings; without it there are none.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from statistics import pstdev
from typing import Any

from bench.forgetting import epsilon, results
from bench.forgetting.distance import GOLD, ORIGINAL
from bench.forgetting.models import Workplace, workplace
from bench.forgetting.run import Bench
from bench.forgetting.scenarios import REPORTED, SCENARIOS
from bench.forgetting.small import small_workplace
from bench.forgetting.spread import forgotten as spread_of_forgotten
from bench.forgetting.tables import grouped
from expunge.evaluation.figures import RETAINED
from expunge.evaluation.gate import judge
from expunge.evaluation.spread import Spread, recorded, spread_of
from expunge.evaluation.stand_ins import stand_ins
from expunge.models.clip import Clip
from expunge.project.errors import ExpungeError
from expunge.unlearning.towers import with_text_tower

FOLDER, WHOLE_FOLDER = Path("bench/results/agreement"), Path("bench/results/agreement-whole")
AGREEMENT = "agreement"
SCENARIO = epsilon.SCENARIO
RETRAINED, UNTOUCHED, SWAPPED = "retrained", "untouched", "old text tower"
IMPOSTORS = (UNTOUCHED, SWAPPED)
SEEDS = 12


def small_spread(captions: float, folder: Path = epsilon.FOLDER) -> Spread:
    """What retrainings on the small corpus differ by, all measured on the same sets.

    Args:
        captions: the effective number of captions of the forgotten pairs.

    Raises:
        ExpungeError: fewer than eight were measured.
    """
    found = results.of_kind(epsilon.EPSILON, [SCENARIO], folder)
    blocks = {one.seed: one.content["metrics"] for one in found if one.method in (GOLD, epsilon.AGAIN)}
    if len(blocks) < 8:
        raise ExpungeError("Measure retrainings first: `python -m bench.forgetting.epsilon`.")
    of_forgotten = spread_of_forgotten({SCENARIO: blocks}, {SCENARIO: captions})
    of_retained = {
        figure.name: {"deviation": pstdev(figure.read(block[figure.group]) for block in blocks.values())}
        for figure in RETAINED
    }
    return spread_of(of_forgotten | of_retained)


def candidates(bench: Bench, methods: Sequence[str], gold: Clip, other: Workplace | None) -> Iterator[tuple[str, Clip]]:
    """Every model that goes before the judges, by name; `other` is a workplace of another seed, for a retraining."""
    if other:
        yield RETRAINED, other.model(bench.catalog, bench.forgotten)[0]
    yield UNTOUCHED, bench.base()
    yield SWAPPED, with_text_tower(gold, bench.base())
    for method in methods:
        yield method, bench.forget(method).clip


def verdicts(
    bench: Bench, methods: Sequence[str], spread: Spread, other: Workplace | None
) -> Iterator[tuple[str, dict[str, Any]]]:
    """For each candidate both verdicts: whether it passed, and the checks that it failed."""
    params, original = bench.place.params, bench.base()
    gold_model, gallery = bench.place.model(bench.catalog, bench.forgotten)[0], bench.original.gallery
    old, gold = bench.judged(original, bench.original), bench.gold
    estimates = [bench.judged(one) for one in stand_ins(bench.catalog, original, gallery, bench.forgotten, params)]
    for name, model in candidates(bench, methods, gold_model, other):
        one = bench.judged(model)
        yield (
            name,
            {
                "gold": _outcome(judge(params.gate, one, [gold], spread=spread)),
                "estimate": _outcome(judge(params.gate, one, estimates, old, spread=spread)),
            },
        )


def _outcome(found: dict[str, Any]) -> dict[str, Any]:
    checks = found["gate"]["checks"]
    return {"passed": found["gate"]["passed"], "failed": [one["name"] for one in checks if not one["passed"]]}


def summary(folder: Path = FOLDER, scenarios: Sequence[str] = (SCENARIO,)) -> list[dict[str, Any]]:
    """For each kind of candidate how many passed by either judge, how often both agreed, and which way they err."""
    rows = []
    for name, chosen in grouped(results.of_kind(AGREEMENT, scenarios, folder), lambda one: one.method).items():
        pairs = [(one.content["gold"]["passed"], one.content["estimate"]["passed"]) for one in chosen]
        rows.append(
            {
                "model": name,
                "judged": len(pairs),
                "by_gold": sum(gold for gold, _ in pairs),
                "by_estimate": sum(estimate for _, estimate in pairs),
                "agreed": sum(gold == estimate for gold, estimate in pairs),
                "passed_wrongly": sum(estimate and not gold for gold, estimate in pairs),
                "refused_wrongly": sum(gold and not estimate for gold, estimate in pairs),
            }
        )
    return rows


def complete(
    bench: Bench, methods: Sequence[str], other: Workplace | None, spread: Spread | None, folder: Path
) -> None:
    """Judge what was not judged before on one set, by the small corpus's own spread where none is given.

    Raises:
        ExpungeError: a figure has no spread.
    """
    scenario, seed = bench.scenario.name, bench.place.params.seed
    names = (*([RETRAINED] if other else []), *IMPOSTORS, *methods)
    if all(results.has(scenario, AGREEMENT, name, seed, folder) for name in names):
        return
    spread = spread or small_spread(bench.captions[""])
    if not all(math.isfinite(value) for value in spread.deviations.values()):
        raise ExpungeError("A figure of the small corpus has no spread; measure more retrainings.")
    for name, content in verdicts(bench, methods, spread, other):
        results.record(results.measured(scenario, AGREEMENT, name, seed, content), folder)
        gold, estimate = content["gold"]["passed"], content["estimate"]["passed"]
        print(f"{scenario} {name} {seed}: gold {gold}, estimate {estimate}", flush=True)


def main() -> None:
    """Judge what was not judged before, and print the summary."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, default=SEEDS, help="how many, on the small corpus")
    parser.add_argument("--methods", nargs="+")
    parser.add_argument("--whole", type=int, nargs="+", metavar="SEED", help="the whole corpus: a seed, and another")
    options = parser.parse_args()
    if options.whole:
        methods = options.methods or ["retrain_text", "cliperase_calibrated"]
        seed, *others = options.whole
        again = workplace(others[0]) if others else None
        for scenario in REPORTED:
            complete(Bench(workplace(seed), scenario), methods, again, recorded(), WHOLE_FOLDER)
        rows = summary(WHOLE_FOLDER, [scenario.name for scenario in REPORTED])
    else:
        for number in range(options.seeds):
            bench = Bench(small_workplace(epsilon.seed_of(ORIGINAL, number)), SCENARIOS[SCENARIO])
            retrained = small_workplace(epsilon.seed_of(epsilon.AGAIN, number))
            complete(bench, options.methods or list(epsilon.METHODS), retrained, None, FOLDER)
        rows = summary()
    for row in rows:
        print(row)


if __name__ == "__main__":
    main()
