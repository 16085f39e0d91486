"""`make bench-forgetting`: methods × scenarios × seeds → bench/results/forgetting/SCENARIO.jsonl.

One line a run, so a stopped benchmark goes on where it was; delete a line to repeat its run. `bench.forgetting.write`
turns the lines into docs/benchmark.md and its appendix.
"""

from __future__ import annotations

import argparse
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from bench.forgetting import persons, project, results
from bench.forgetting.distance import GOLD, ORIGINAL, distance
from bench.forgetting.models import Workplace, workplace
from bench.forgetting.project import Forgotten
from bench.forgetting.results import EXAMINATION, RESULTS, RUN, STAND_IN, has, record
from bench.forgetting.scenarios import REPORTED, SCENARIOS, Scenario
from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import Encoder, view
from expunge.embeddings.views import Views
from expunge.evaluation.gate import JudgedModel, hangs_on_few, judge
from expunge.evaluation.measure import Measured, measure
from expunge.evaluation.overlap import effective_by_request
from expunge.evaluation.release import judged_model, searched_words
from expunge.evaluation.sets import Sets, column, release_sets
from expunge.evaluation.stand_ins import stand_ins
from expunge.evaluation.traces import Words, traces
from expunge.examination import associations
from expunge.examination.associations import Associations
from expunge.examination.examine import Subject, examine
from expunge.models.clip import Clip
from expunge.models.pairs import Pairs, load_pairs
from expunge.unlearning import registry

NOT_COMPARED = ("retrain", "exact")
"""The gold standard itself, and what needs a model of another kind; `bench.forgetting.exact` measures that."""


@dataclass(frozen=True)
class Bench:
    """One scenario under one seed, with everything that its runs share."""

    place: Workplace
    scenario: Scenario
    folder: Path = RESULTS

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
        """The sets of one release that forgets all of it, as production chooses them, and the unguarded pairs."""
        _, retained = project.selected(self.place, self.catalog, self.forgotten)
        sets = release_sets(self.catalog, self.forgotten, self.forgotten, retained)
        told = np.concatenate([sets.groups["forget"], sets.guarded])
        trained = np.flatnonzero(column(self.catalog, "split") == "train")
        return replace(sets, groups=sets.groups | {"unguarded": np.setdiff1d(trained, told)})

    @cached_property
    def words(self) -> Words:
        """What the scans of a text tower look for."""
        return searched_words(self.catalog, self.base(), self.sets, self.forgotten, self.place.params)

    @cached_property
    def captions(self) -> dict[str, float]:
        """The effective number of captions of what is to be forgotten."""
        return effective_by_request(self.base(), self.catalog, self.sets.groups["forget"], {})

    @cached_property
    def gold(self) -> JudgedModel:
        """What the judge is told of the gold standard."""
        return self.judged(self.place.model(self.catalog, self.forgotten)[0], self.retrained[0])

    @cached_property
    def associations(self) -> Associations:
        """Rows of the made-up facts: to forget, others of the same persons, those of other persons."""
        kinds, injected = column(self.catalog, "variant"), column(self.catalog, "superclass") == "Injected"
        return Associations(*(np.flatnonzero(injected & (kinds == kind)) for kind in persons.KINDS))

    def base(self) -> Clip:
        """A fresh copy of the model that was trained on everything."""
        return self.place.model(self.catalog, set())[0]

    def forget(self, method: str, joint: bool = False) -> Forgotten:
        """Forget one set after the other, or all of them in one joint release."""
        return project.forget(self.place, self.catalog, [self.forgotten] if joint else self.releases, method)

    @cached_property
    def views(self) -> Views:
        """What models see of the catalog; the scenario's models that share a tower share its embeddings."""
        return Views(self.catalog, [], self.place.params.embed.batch_size)

    def measure(self, model: Encoder) -> Measured:
        """All figures of a model on the scenario's sets, from vectors in float16, as a release's stores keep them."""
        params = self.place.params
        if isinstance(model, Clip):
            gallery = self.views(model)
        else:
            exact = view(model, self.pairs, params.embed.batch_size)
            gallery = replace(exact, images=exact.images.half(), texts=exact.texts.half())
        return measure(model, gallery, self.pairs.classes, self.sets, params.evaluate, whole=True)

    def asked(self, model: Clip) -> Subject:
        """A model as the further questions are put to it: with vectors in float32, as `expunge examine` does."""
        params = self.place.params
        gallery = view(model, self.pairs, params.embed.batch_size)
        return Subject(model, measure(model, gallery, self.pairs.classes, self.sets, params.evaluate, whole=True))

    def judged(self, model: Clip, measured: Measured | None = None) -> JudgedModel:
        """What the judge is told of a model: all that it is told of a release."""
        return judged_model(measured or self.measure(model), traces(model, self.words), self.sets, {}, self.captions)

    @cached_property
    def stand_ins(self) -> list[JudgedModel]:
        """Text towers that join the gold standard, where what is forgotten hangs on few captions."""
        if not hangs_on_few(self.place.params.gate, self.captions):
            return []
        made = stand_ins(self.catalog, self.base(), self.original.gallery, self.forgotten, self.place.params)
        return [self.judged(model) for model in made]

    def verdict(self, subject: JudgedModel) -> dict[str, Any]:
        """Gate and diagnosis of a model against the gold standard."""
        found = judge(self.place.params.gate, subject, [self.gold], stand_ins=self.stand_ins)
        return {"diagnosis": found["diagnosis"], "failed": failed(found)}

    def has(self, kind: str, name: str) -> bool:
        """Whether this was measured before."""
        return has(self.scenario.name, kind, name, self.place.params.seed, self.folder)

    def record(self, kind: str, name: str, content: dict[str, Any]) -> None:
        """Keep one result."""
        seed = self.place.params.seed
        record(results.measured(self.scenario.name, kind, name, seed, content), self.folder)


def run(bench: Bench, method: str, joint: bool = False) -> dict[str, Any]:
    """Unlearn by `method` and compare with the gold standard; `joint` forgets a sequence in one release."""
    forgotten = bench.forget(method, joint)
    subject = bench.judged(forgotten.clip)
    gold, seconds = bench.retrained
    return {
        "values": forgotten.values,
        "model_digest": forgotten.digest,
        "cost": forgotten.cost | {"retrain_seconds": seconds},
        **told(subject),
        "distance": distance(subject.metrics, gold.metrics),
        **bench.verdict(subject),
    }


def failed(found: dict[str, Any]) -> list[str]:
    """Names of the checks that a verdict did not pass."""
    return [check["name"] for check in found["gate"]["checks"] if not check["passed"]]


def told(subject: JudgedModel) -> dict[str, Any]:
    """What is kept of a model, so that it can be judged again."""
    similarities, captions = subject.similarities[""].tolist(), subject.captions[""]
    return {
        "metrics": subject.metrics,
        "traces": subject.traces,
        "similarities": similarities,
        "effective_captions": captions,
    }


def examined(bench: Bench, methods: Sequence[str]) -> None:
    """Ask the further questions of the original, the gold standard and the models of `methods`."""
    params = bench.place.params
    models = {ORIGINAL: bench.base, GOLD: lambda: bench.place.model(bench.catalog, bench.forgotten)[0]}
    original, gold = (bench.asked(model()) for model in models.values())
    for name in (ORIGINAL, GOLD, *methods):
        if bench.has(EXAMINATION, name):
            continue
        known = {ORIGINAL: original, GOLD: gold}
        subject = known[name] if name in known else bench.asked(bench.forget(name).clip)
        answers = examine(subject, original, gold, bench.pairs, bench.sets, params)
        if bench.scenario.injected:
            answers["associations"] = associations.score(
                subject.measured.gallery, bench.pairs.canonical(), bench.associations, params.seed
            )
        bench.record(EXAMINATION, name, answers)
        print(f"{bench.scenario.name} {name} {params.seed}: examined", flush=True)


def complete(bench: Bench, method: str, joint: bool = False) -> None:
    """Run and keep what has no result yet; a sequence is also forgotten in one joint release."""
    name = f"{method}_joint" if joint else method
    if not bench.has(RUN, GOLD):
        bench.record(RUN, ORIGINAL, told(bench.judged(bench.base(), bench.original)))
        bench.record(RUN, GOLD, told(bench.gold) | {"cost": {"retrain_seconds": bench.retrained[1]}})
    few = hangs_on_few(bench.place.params.gate, bench.captions)
    if few and not bench.has(STAND_IN, f"stand-in {bench.place.params.gate.stand_ins}"):
        for number, subject in enumerate(bench.stand_ins, 1):
            bench.record(STAND_IN, f"stand-in {number}", told(subject))
    if bench.has(RUN, name):
        return
    result = run(bench, method, joint)
    bench.record(RUN, name, result)
    gap, seconds = result["distance"]["average_gap"], result["cost"]["unlearn_seconds"]
    seed = bench.place.params.seed
    print(f"{bench.scenario.name} {name} {seed}: gap {gap:.1f}, {result['diagnosis']}, {seconds:.1f} s", flush=True)


def main() -> None:
    """Run what has no result yet."""
    methods = [name for name in registry.METHODS if name not in NOT_COMPARED]
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=[scenario.name for scenario in REPORTED])
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--examine", action="store_true", help="ask the further questions instead")
    parser.add_argument("--results", type=Path, default=RESULTS, help="the folder to write to")
    options = parser.parse_args()
    for seed in options.seeds:
        place = workplace(seed)
        for scenario in options.scenarios:
            bench = Bench(place, SCENARIOS[scenario], options.results)
            if options.examine:
                examined(bench, options.methods)
                continue
            for method in options.methods:
                for joint in (False, True)[: len(bench.releases)]:
                    complete(bench, method, joint)


if __name__ == "__main__":
    main()
