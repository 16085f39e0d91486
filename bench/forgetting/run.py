"""`make bench-forgetting`: methods × scenarios × seeds → bench/results/forgetting/SCENARIO/METHOD-SEED.json.

One file a run, so a stopped benchmark goes on where it was; delete a file to repeat its run. `bench.forgetting.write`
turns the files into docs/benchmark.md.
"""

from __future__ import annotations

import argparse
import math
import time
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.forgetting import persons
from bench.forgetting.models import Workplace, workplace
from bench.forgetting.scenarios import REPORTED, SCENARIOS, Scenario
from bench.machine import machine
from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import Gallery, view
from expunge.evaluation.gate import judge
from expunge.evaluation.measure import Measured, measure
from expunge.evaluation.sets import Sets
from expunge.examination import associations
from expunge.examination.associations import Associations
from expunge.examination.examine import Subject, examine
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs, read_wording
from expunge.project.files import write_json
from expunge.selection.neighbours import choose_retain
from expunge.selection.sets import RetainRow
from expunge.unlearning import registry
from expunge.unlearning.loop import unlearn
from expunge.unlearning.problem import Problem, Seen

RESULTS = Path("bench/results/forgetting")
ORIGINAL, GOLD = "original", "gold"
GROUPS = ("forget", "neighbours", "retain", "unguarded", "test")
"""`unguarded` are trained pairs that stay and that no method is shown while it unlearns."""
ROLES = ("neighbours", "random")
RECALL, SIMILARITY = "image_to_text_r1", "pair_similarity"


@dataclass(frozen=True)
class Bench:
    """One scenario under one seed, with everything that its runs share."""

    place: Workplace
    scenario: Scenario

    @cached_property
    def catalog(self) -> Catalog:
        return self.place.catalog(self.scenario)

    @cached_property
    def releases(self) -> list[set[str]]:
        return self.scenario.forget_sets(self.catalog)

    @cached_property
    def forgotten(self) -> set[str]:
        return set().union(*self.releases)

    @cached_property
    def pairs(self) -> Pairs:
        return load_pairs(self.catalog, self.base())

    @cached_property
    def seen(self) -> Gallery:
        """The base model's embeddings; they choose the retain sets."""
        return view(self.base(), self.pairs, self.place.params.embed.batch_size)

    @cached_property
    def original(self) -> Measured:
        """The base model, measured on the scenario's sets."""
        return self.measure(self.base())

    @cached_property
    def retrained(self) -> tuple[Measured, float]:
        """The gold standard, and the seconds that its training took."""
        model, seconds = self.place.model(self.catalog, self.forgotten)
        return self.measure(model), seconds

    @cached_property
    def sets(self) -> Sets:
        """Rows to report on, chosen as the steps `select` and `evaluate` do, for all releases together."""
        metadata = self.catalog.metadata
        splits, concepts = (np.array(metadata[name].to_pylist()) for name in ("split", "concept"))
        trained = set(concepts[splits == "train"])
        unseen = np.array([concept not in trained for concept in concepts])
        test = np.flatnonzero(splits == "test")
        retained = self.retained(self.seen, self.forgotten, set())
        forget = self.rows(self.forgotten)
        groups = {role: self.rows({row.sample_id for row in retained if row.role == role}) for role in ROLES}
        groups = {"forget": forget, "neighbours": groups["neighbours"], "retain": groups["random"], "test": test}
        told = np.concatenate([groups["forget"], groups["neighbours"], groups["retain"]])
        groups["unguarded"] = np.setdiff1d(np.flatnonzero(splits == "train"), told)
        return Sets(groups, members=forget, never_seen=test[unseen[test]])

    @cached_property
    def associations(self) -> Associations:
        """Rows of the made-up facts: to forget, others of the same persons, those of other persons."""
        kinds = np.array(self.catalog.metadata["variant"].to_pylist(), dtype=object)
        injected = np.array(self.catalog.metadata["superclass"].to_pylist()) == "Injected"
        return Associations(*(np.flatnonzero(injected & (kinds == kind)) for kind in persons.KINDS))

    def base(self) -> Clip:
        """A fresh copy of the model that was trained on everything."""
        return self.place.model(self.catalog, set())[0]

    def rows(self, ids: set[str]) -> np.ndarray:
        """Row numbers of samples in the catalog."""
        return np.array(sorted(self.catalog.row_of[sample_id] for sample_id in ids), dtype=np.int64)

    def retained(self, seen: Gallery, forget: set[str], gone: set[str]) -> list[RetainRow]:
        """The retain set of one release, by its parent's embeddings; its ancestors have forgotten `gone`."""
        params, kept = self.place.params, [row for row, name in enumerate(self.catalog.ids) if name not in gone]
        return choose_retain(
            [self.catalog.ids[row] for row in kept],
            self.catalog.metadata["split"].take(kept).to_pylist(),
            seen.images[kept].numpy(),
            seen.texts[kept].numpy(),
            forget,
            params.select.neighbours,
            params.select.random,
            params.seed,
        )

    def unlearn(self, method: str, values: dict[str, Any], releases: Sequence[set[str]]) -> tuple[Clip, dict[str, Any]]:
        """Forget one set after the other; the model and what it cost, choosing retain sets left aside."""
        model, gone, seconds, changed = self.base(), set(), 0.0, 0
        for forget in releases:
            seen = view(model, self.pairs, self.place.params.embed.batch_size) if gone else self.seen
            retained = self.retained(seen, forget, gone)
            gone |= forget
            start = time.perf_counter()
            outcome = unlearn(self.problem(model, seen, forget, gone, retained), method, values)
            seconds += time.perf_counter() - start
            model, changed = outcome.clip, max(changed, outcome.parameters_changed)
        return model, {"unlearn_seconds": round(seconds, 2), "parameters_changed": changed}

    def problem(
        self, model: Clip, seen: Gallery, forget: set[str], gone: set[str], retained: Sequence[RetainRow]
    ) -> Problem:
        """The unlearning problem, as the step `unlearn` builds it; `seen` are the parent's embeddings."""
        params = self.place.params
        retain = load_pairs(self.catalog, model, {row.sample_id for row in retained})
        neighbours = {row.sample_id for row in retained if row.role == "neighbours"}
        stay = self.rows(self.catalog.split_ids("train") - gone)
        wording = read_wording(self.catalog, stay)
        return Problem(
            clip=model,
            forget=load_pairs(self.catalog, model, forget),
            retain=retain,
            is_neighbour=np.array([sample_id in neighbours for sample_id in retain.ids]),
            held_out=load_pairs(self.catalog, model, self.catalog.split_ids("calibration")),
            remaining=Seen(wording.canonical(), seen.images[stay], seen.texts[stay]),
            wording=wording,
            training=params.train,
            clean_start=lambda seed: clip.create(params.model, seed),
            from_scratch=lambda: (self.place.model(self.catalog, gone)[0], []),
            compute=params.compute,
            seed=params.seed,
        )

    def measure(self, model: Clip) -> Measured:
        """All figures of a model on the scenario's sets."""
        params = self.place.params
        return measure(model, self.pairs, self.sets, params.evaluate, params.embed.batch_size)

    def verdict(self, metrics: dict[str, Any]) -> dict[str, Any]:
        """Gate and diagnosis of a model against the gold standard; nothing is put down to chance here."""
        gate = self.place.params.gate.model_copy(update={"standard_errors": 0.0})
        found = judge(gate, self.original.metrics, metrics, self.retrained[0].metrics, math.nan)
        failed = [check["name"] for check in found["gate"]["checks"] if not check["passed"]]
        return {"diagnosis": found["diagnosis"], "failed": failed}


def run(bench: Bench, method: str, values: dict[str, Any], joint: bool = False) -> dict[str, Any]:
    """Unlearn by `method` and compare with the gold standard; `joint` forgets a sequence in one release."""
    model, cost = bench.unlearn(method, values, [bench.forgotten] if joint else bench.releases)
    metrics = bench.measure(model).metrics
    gold, seconds = bench.retrained
    return {
        "values": values,
        "cost": cost | {"retrain_seconds": seconds},
        "metrics": metrics,
        "distance": distance(metrics, gold.metrics),
        **bench.verdict(metrics),
    }


def distance(metrics: dict[str, Any], gold: dict[str, Any]) -> dict[str, float]:
    """Absolute distance to the gold standard in each figure that is reported, in its own unit.

    `average_gap` is the mean over recall on forget, retain and test and the membership attack, in percentage points.
    """
    recall = {name: abs(metrics[name][RECALL] - gold[name][RECALL]) for name in GROUPS}
    similarity = {name: abs(metrics[name][SIMILARITY] - gold[name][SIMILARITY]) for name in GROUPS}
    membership = abs(metrics["mia_auc"] - gold["mia_auc"])
    gap = 100 * float(np.mean([recall["forget"], recall["retain"], recall["test"], membership]))
    named = {f"{group}_recall": value for group, value in recall.items()}
    named |= {f"{group}_similarity": value for group, value in similarity.items()}
    return named | {"mia_auc": membership, "average_gap": gap}


def examined(bench: Bench, methods: Sequence[str]) -> None:
    """Ask the further questions of the original, the gold standard and the models of `methods`."""
    params = bench.place.params
    gold = Subject(bench.place.model(bench.catalog, bench.forgotten)[0], bench.retrained[0])
    original = Subject(bench.base(), bench.original)
    for name in (ORIGINAL, GOLD, *methods):
        if path(bench, f"examined_{name}").is_file():
            continue
        subject = {ORIGINAL: original, GOLD: gold}.get(name)
        if subject is None:
            values = registry.parameters(name, params.unlearn.methods[name]).model_dump(mode="json")
            model = bench.unlearn(name, values, bench.releases)[0]
            subject = Subject(model, bench.measure(model))
        answers = examine(subject, original, gold, bench.pairs, bench.sets, params)
        if bench.scenario.injected:
            answers["associations"] = associations.score(
                subject.measured.gallery, bench.pairs.canonical(), bench.associations, params.seed
            )
        record(bench, f"examined_{name}", answers)
        print(f"{bench.scenario.name} {name} {params.seed}: examined", flush=True)


def complete(bench: Bench, method: str, joint: bool) -> None:
    """Run and keep what has no result yet; a sequence is also forgotten in one joint release."""
    name = f"{method}_joint" if joint else method
    if path(bench, name).is_file():
        return
    params = bench.place.params
    values = registry.parameters(method, params.unlearn.methods[method]).model_dump(mode="json")
    result = run(bench, method, values, joint)
    record(bench, name, result)
    gap, seconds = result["distance"]["average_gap"], result["cost"]["unlearn_seconds"]
    print(
        f"{bench.scenario.name} {name} {params.seed}: gap {gap:.1f}, {result['diagnosis']}, {seconds:.1f} s", flush=True
    )


def record(bench: Bench, name: str, content: dict[str, Any]) -> None:
    """Keep one result."""
    write_json(path(bench, name), {"machine": machine(), "seed": bench.place.params.seed, **rounded(content)})


def path(bench: Bench, name: str) -> Path:
    """Where the result of one run lies."""
    return RESULTS / bench.scenario.name / f"{name}-{bench.place.params.seed}.json"


def rounded(value: Any) -> Any:
    """Figures in six significant digits."""
    if isinstance(value, dict):
        return {key: rounded(item) for key, item in value.items()}
    return float(f"{value:.6g}") if isinstance(value, float) else value


def main() -> None:
    """Run what has no result yet."""
    methods = [name for name in registry.METHODS if name != "retrain"]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=[scenario.name for scenario in REPORTED])
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--examine", action="store_true", help="ask the further questions instead")
    options = parser.parse_args()
    for seed in options.seeds:
        place = workplace(seed)
        for scenario in options.scenarios:
            bench = Bench(place, SCENARIOS[scenario])
            if not path(bench, GOLD).is_file():
                gold, seconds = bench.retrained
                record(bench, ORIGINAL, {"metrics": bench.original.metrics})
                record(bench, GOLD, {"metrics": gold.metrics, "cost": {"retrain_seconds": seconds}})
            for method in options.methods:
                if options.examine:
                    examined(bench, [method])
                    continue
                for joint in (False, True)[: len(bench.releases)]:
                    complete(bench, method, joint)


if __name__ == "__main__":
    main()
