"""Base and retrained models of the benchmark, trained once and kept under `.expunge/bench`."""

from __future__ import annotations

import argparse
import time
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

from bench.forgetting import persons
from bench.forgetting.scenarios import REPORTED, SCENARIOS, VALIDATION, Scenario
from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.sample import Source
from expunge.corpus.sources import open_source
from expunge.models import clip
from expunge.models.clip import Clip
from expunge.models.retrain import train_from_scratch
from expunge.project.files import digest_of, read_json, write_json
from expunge.project.progress import progress
from expunge.settings import Params, load_params

WORK = Path(".expunge/bench")


@dataclass(frozen=True)
class Workplace:
    """Catalogs and models for one seed.

    Attributes:
        params: the project's settings, with the seed of this workplace.
        work: where catalogs, models and embeddings are kept.
    """

    params: Params
    work: Path = WORK

    def catalog(self, scenario: Scenario) -> Catalog:
        """The project's catalog, with the made-up persons where the scenario wants them."""
        name = "injected" if scenario.injected else "plain"
        folder = self.work / f"catalog-{name}-{digest_of(self.params.catalog.model_dump(mode='json'))[:12]}"
        if not (folder / "catalog.json").is_file():
            source = open_source(self.params.catalog)
            extra = persons.samples(self.params.catalog.image_size) if scenario.injected else ()
            merged = Source(source.name, source.version, source.license, source.credit, chain(source.samples, extra))
            write_catalog(folder, merged, self.params.catalog.rows_per_shard)
        return Catalog(folder)

    def model(self, catalog: Catalog, without: set[str]) -> tuple[Clip, float]:
        """The model trained from scratch without the samples `without`, and the seconds that its training took."""
        folder = self.folder(catalog, without)
        return clip.load(folder, clip.configure(self.params.compute)), read_json(folder / "cost.json")["seconds"]

    def folder(self, catalog: Catalog, without: set[str]) -> Path:
        """Where that model lies; it is trained first where it is missing."""
        settings = self.params.model_dump(mode="json", include={"seed", "compute", "model", "train"})
        key = digest_of({"catalog": catalog.digest, "without": sorted(without), **settings})[:24]
        folder = self.work / "models" / key
        if not (folder / "cost.json").is_file():
            start = time.perf_counter()
            with progress(f"train without {len(without)} samples, seed {self.params.seed}") as report:
                model, _, pairs = train_from_scratch(catalog, self.params, without, self.work / "checkpoints", report)
            clip.save(model, folder)
            write_json(folder / "cost.json", {"seconds": round(time.perf_counter() - start, 1), "pairs": pairs})
        return folder


def workplace(seed: int) -> Workplace:
    """The workplace of one seed; the corpus and all else is that of params.yaml."""
    return Workplace(load_params().model_copy(update={"seed": seed}))


def main() -> None:
    """Train what is missing, so that the benchmark itself is quick."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--scenarios", nargs="+", choices=SCENARIOS, default=[s.name for s in (*VALIDATION, *REPORTED)])
    options = parser.parse_args()
    for seed in options.seeds:
        place = workplace(seed)
        for name in options.scenarios:
            scenario = SCENARIOS[name]
            catalog = place.catalog(scenario)
            for without in (set(), set().union(*scenario.forget_sets(catalog))):
                seconds = place.model(catalog, without)[1]
                print(f"seed {seed}, {name}, without {len(without)}: {seconds:.0f} s", flush=True)


if __name__ == "__main__":
    main()
