"""Models that no judge may pass, made of the benchmark's own: lines of kind `impostor` in the scenario's results.

Each is the gold standard itself, but for one mark that a careless method would leave:

- *old text tower*: that of the original, put back;
- *short rows*: the token rows of forgotten words at a third of their length, as dampening leaves them;
- *one heap*: the token rows of forgotten words all alike;
- *pushed below*: every forgotten pair less similar, so that their mean lies 0.5 below that of the lowest retraining of
  the set;
- *all at the mean*: every forgotten pair at the mean of them all.

The last two are made of the figures of all recorded gold standards, the others are models. A mark that a set cannot
bear is left out: where forgotten captions have fewer than five words of their own there is no heap. `python -m
bench.forgetting.impostors` makes the former anew and, with `--seeds`, those of the latter that are missing;
`bench.forgetting.spread` counts.
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator, Mapping
from dataclasses import replace
from pathlib import Path

import numpy as np
import torch

from bench.forgetting.distance import GOLD
from bench.forgetting.models import workplace
from bench.forgetting.results import IMPOSTOR, RESULTS, measured, record
from bench.forgetting.run import Bench, failed, told
from bench.forgetting.scenarios import REPORTED, SCENARIOS
from bench.forgetting.spread import recorded_models, stand_ins_of
from expunge.evaluation.gate import JudgedModel, judge
from expunge.evaluation.traces import FEWEST
from expunge.models.clip import Clip
from expunge.models.network import text_tower
from expunge.settings import load_params
from expunge.unlearning.towers import with_text_tower

SHORTER = 1 / 3
LOWER = 0.5
LEAST_SPREAD = 1e-3
"""Standard deviation of pairs that are all alike: a logarithm is taken of it."""


def impostors(bench: Bench) -> Iterator[tuple[str, JudgedModel]]:
    """Every impostor of one scenario and seed that is a model, by name."""
    gold = bench.place.model(bench.catalog, bench.forgotten)[0]
    yield "old text tower", bench.judged(with_text_tower(gold, bench.base()))
    if bench.words.own_tokens:
        yield "short rows", bench.judged(_short(gold.clone(), bench.words.own_tokens))
    if min(len(bench.words.own_words), len(bench.words.unseen_words)) >= FEWEST and bench.words.own_tokens:
        yield "one heap", bench.judged(_alike(gold.clone(), bench.words.own_tokens))


def of_figures(golds: Mapping[int, JudgedModel]) -> Iterator[tuple[int, str, JudgedModel]]:
    """The impostors that are made of the figures of a set's gold standards: seed, name, what the judge sees."""
    lowest = min(one.similarities[""].mean() for one in golds.values())
    for seed, gold in golds.items():
        similarities = gold.similarities[""]
        yield seed, "pushed below", _with_similarities(gold, similarities - similarities.mean() + lowest - LOWER)
        draw = np.random.default_rng(seed)
        close = similarities.mean() + LEAST_SPREAD * draw.standard_normal(len(similarities))
        yield seed, "all at the mean", _with_similarities(gold, close)


def _short(clip: Clip, tokens: list[int]) -> Clip:
    with torch.no_grad():
        _rows(clip)[tokens] *= SHORTER
    return clip


def _alike(clip: Clip, tokens: list[int]) -> Clip:
    """Rows of their usual lengths, in one direction: the scan of lengths cannot see it."""
    with torch.no_grad():
        rows = _rows(clip)
        lengths = rows[tokens].norm(dim=1, keepdim=True)
        direction = torch.nn.functional.normalize(rows[tokens].mean(dim=0), dim=0)
        rows[tokens] = lengths * direction
    return clip


def _rows(clip: Clip) -> torch.Tensor:
    tower = text_tower(clip.model)
    assert tower is not None, "the benchmark's model has a table of token rows"
    return tower.token_embedding.weight


def _with_similarities(subject: JudgedModel, similarities: np.ndarray) -> JudgedModel:
    figures = {"pair_similarity": float(similarities.mean()), "pair_similarity_sd": float(similarities.std())}
    forget = {**subject.metrics["forget"], **figures}
    return replace(subject, metrics={**subject.metrics, "forget": forget}, similarities={"": similarities})


def main() -> None:
    """Judge what was not judged before."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="*", default=[])
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=[scenario.name for scenario in REPORTED])
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    options = parser.parse_args()
    gate = load_params().gate
    for scenario in options.scenarios:
        golds = recorded_models(scenario, GOLD, options.results)
        lines = []
        for seed, name, subject in of_figures(golds):
            found = judge(gate, subject, [golds[seed]], stand_ins=stand_ins_of(scenario, seed, options.results))
            verdict = {"diagnosis": found["diagnosis"], "failed": failed(found)}
            lines.append(measured(scenario, IMPOSTOR, name, seed, told(subject) | verdict))
        record(lines, options.results)
    for seed in options.seeds:
        for scenario in options.scenarios:
            bench = Bench(workplace(seed), SCENARIOS[scenario], options.results)
            if bench.has(IMPOSTOR, "old text tower"):
                continue
            for name, subject in impostors(bench):
                verdict = bench.verdict(subject)
                bench.record(IMPOSTOR, name, told(subject) | verdict)
                print(f"{scenario} {name} {seed}: {verdict['diagnosis']}, {', '.join(verdict['failed'])}", flush=True)


if __name__ == "__main__":
    main()
