"""Forgetting quality as an ε: can an attacker tell the outputs of many unlearned models from those of many retrainings?

The question of the NeurIPS unlearning competition (Triantafillou et al. 2024, arXiv 2406.09073, its scoring appendix
and published metric), on the small corpus of `bench.forgetting.small`. For every forgotten pair there are N numbers
from N retrainings and N from N unlearned models, each of which began from an original of its own (the costliest of the
paper's setups). A number is the logit of the probability with which a picture finds its caption among all captions. An
attack is a threshold, or an interval, on that number; of its false-positive and false-negative rates follows, for
δ = 1e-5,

    ε ≥ max( log((1 − δ − FPR) / FNR), log((1 − δ − FNR) / FPR) )

and ε of a pair is that of the best attack: infinite where one separates all models. Attacks with one of the two rates
at 0 and the other above say nothing with so few models, and are passed over as in the paper. The score of a pair is 1
for ε below 0.5, ½ below 1, ¼ below 1.5 …, and 0 beyond what N models can show; forgetting quality is its mean.
Intervals are tried exhaustively here, not on a grid. With few models chance alone makes ε positive, so another set of N
retrainings is the row to read all others against.

`python -m bench.forgetting.epsilon` trains, unlearns and records what is missing in bench/results/epsilon/, one line a
model, and prints the table that `bench.forgetting.write` puts on the page.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np
import torch

from bench.forgetting import results
from bench.forgetting.distance import GOLD, ORIGINAL
from bench.forgetting.run import Bench
from bench.forgetting.scenarios import SCENARIOS
from bench.forgetting.small import small_workplace
from expunge.embeddings.gallery import Gallery

FOLDER = Path("bench/results/epsilon")
EPSILON = "epsilon"
SCENARIO = "large_class"
METHODS = ("retrain_text", "cliperase_calibrated", "cliperase", "ssd")
AGAIN = "retrained again"
MODELS = 32
DELTA = 1e-5
WIDTH = 0.5
"""Of the steps of ε over which a pair's score halves."""


def confidences(gallery: Gallery, rows: np.ndarray) -> list[float]:
    """log p − log(1 − p) of each row's own caption among all captions of the catalog, for its picture."""
    chosen = torch.from_numpy(rows)
    scores = (gallery.scale * gallery.images[chosen] @ gallery.texts.T).double()
    right = scores.gather(1, chosen[:, None]).squeeze(1)
    others = scores.scatter(1, chosen[:, None], -torch.inf).logsumexp(dim=1)
    return [float(value) for value in right - others]


def epsilon(unlearned: np.ndarray, retrained: np.ndarray) -> float:
    """ε of one pair from its number under N unlearned and M retrained models; `inf` where an attack never errs."""
    values = np.unique(np.concatenate([unlearned, retrained]))
    cuts = np.concatenate([[-np.inf], (values[1:] + values[:-1]) / 2, [np.inf]])
    below = [np.searchsorted(np.sort(side), cuts) / len(side) for side in (unlearned, retrained)]
    low, high = np.triu_indices(len(cuts), 1)
    # Shares of both kinds that lie inside each interval; a threshold is an interval without an end.
    inside = [share[high] - share[low] for share in below]
    found = [_bound(1 - caught, alarms) for caught, alarms in (inside, inside[::-1])]
    return max(0.0, *found)


def _bound(missed: np.ndarray, alarms: np.ndarray) -> float:
    """The greatest lower bound among attacks with false-negative rates `missed` and false-positive rates `alarms`."""
    if ((missed <= 0) & (alarms <= 0)).any():
        return math.inf
    told = (missed > 0) & (alarms > 0) & (missed + alarms < 1)
    if not told.any():
        return 0.0
    misses, false = missed[told], alarms[told]
    return float(np.maximum(np.log((1 - DELTA - false) / misses), np.log((1 - DELTA - misses) / false)).max())


def quality(epsilons: Sequence[float], models: int) -> float:
    """Mean score of the pairs: 2^−⌊ε / 0.5⌋, and 0 beyond what so many models can show."""
    most = math.ceil(math.log(models - 1))
    return fmean(0.5 ** math.floor(one / WIDTH) if one < most else 0.0 for one in epsilons)


@cache
def reference() -> Bench:
    """The benchmark whose pictures and sets every model is measured on; it trains the original of one seed."""
    return Bench(small_workplace(seed_of(ORIGINAL, 0)), SCENARIOS[SCENARIO])


def measure(seed: int, kind: str) -> dict[str, Any]:
    """Numbers, figures and seconds of one model: a method's, `gold`, `original` or another retraining."""
    bench = Bench(small_workplace(seed), SCENARIOS[SCENARIO])
    if kind in (GOLD, AGAIN):
        model, seconds = bench.place.model(bench.catalog, bench.forgotten)
    elif kind == ORIGINAL:
        model, seconds = bench.place.model(bench.catalog, set())
    else:
        forgotten = bench.forget(kind)
        model, seconds = forgotten.clip, forgotten.cost["unlearn_seconds"]
    seen = reference().measure(model)
    rows = reference().sets.groups["forget"]
    return {"confidences": confidences(seen.gallery, rows), "metrics": seen.metrics, "seconds": seconds}


def seed_of(kind: str, number: int) -> int:
    """Retrainings, other retrainings and originals have seeds of their own, so that no two share a beginning."""
    return number + {GOLD: 0, AGAIN: 1000}.get(kind, 2000)


def summary(folder: Path = FOLDER) -> list[dict[str, Any]]:
    """For each kind of model that was measured often enough: how many, median ε, share of infinite ones, quality."""
    found = results.of_kind(EPSILON, [SCENARIO], folder)
    numbers = {
        kind: np.array([one.content["confidences"] for one in found if one.method == kind])
        for kind in (GOLD, AGAIN, *METHODS, ORIGINAL)
    }
    rows = []
    for kind, own in numbers.items():
        if kind == GOLD or len(own) < 2 or len(numbers[GOLD]) < 2:
            continue
        epsilons = [epsilon(own[:, pair], numbers[GOLD][:, pair]) for pair in range(own.shape[1])]
        models = min(len(own), len(numbers[GOLD]))
        chosen = [one for one in found if one.method == kind]
        rows.append(
            {
                "model": kind,
                "models": models,
                "pairs": len(epsilons),
                "median": median(epsilons),
                "separated": fmean(math.isinf(one) for one in epsilons),
                "quality": quality(epsilons, models),
                "similarity": fmean(one.content["metrics"]["forget"]["pair_similarity"] for one in chosen),
                "seconds": median(one.content["seconds"] for one in chosen),
            }
        )
    return sorted(rows, key=lambda row: -row["quality"])


def main() -> None:
    """Measure what is missing, seed by seed, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--models", type=int, default=MODELS)
    parser.add_argument("--methods", nargs="+", default=list(METHODS))
    parser.add_argument("--results", type=Path, default=FOLDER, help="the folder to write to")
    options = parser.parse_args()
    for number in range(options.models):
        for kind in (GOLD, AGAIN, ORIGINAL, *options.methods):
            seed = seed_of(kind, number)
            if not results.has(SCENARIO, EPSILON, kind, seed, options.results):
                content = measure(seed, kind)
                results.record(results.measured(SCENARIO, EPSILON, kind, seed, content), options.results)
                print(f"{kind} {seed}: {content['seconds']:.1f} s", flush=True)
    for row in summary(options.results):
        print(row)


if __name__ == "__main__":
    main()
