"""Step `catalog`: the source of params.yaml, without what must not come back → data/catalog."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import replace
from itertools import pairwise

from expunge.corpus.catalog import write_catalog
from expunge.corpus.sample import Sample
from expunge.corpus.sources import open_source
from expunge.lineage.digests import weights
from expunge.near_duplicates.suppression import Suppressed
from expunge.project.files import write_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, live_release
from expunge.selection.sets import read_forget
from expunge.settings import Params
from expunge.steps import step_main


def catalog(paths: Paths, params: Params, release: str) -> None:
    """Write the catalog; the release is always `base`."""
    suppressed, needed = Suppressed.load(paths), still_needed(paths)
    kept_out: list[dict[str, str]] = []

    def wanted(samples: Iterable[Sample]) -> Iterator[Sample]:
        for sample in samples:
            if sample.sample_id not in needed and (evidence := suppressed.evidence(sample)):
                kept_out.append({"sample_id": sample.sample_id, "evidence": evidence})
            else:
                yield sample

    source = open_source(params.catalog)
    kept = replace(source, samples=wanted(source.samples)) if suppressed else source
    built = write_catalog(paths.catalog, kept, params.catalog.rows_per_shard)
    if suppressed:
        write_json(paths.kept_out, kept_out)
        print(
            f"catalog: {len(kept_out)} samples kept out as forgotten, listed in {paths.kept_out}; "
            f"{len(needed)} more stay until `expunge purge`"
        )
    print(f"catalog: {len(built)} samples in {len(built.shards)} shards, digest {built.digest[:12]}")


def still_needed(paths: Paths) -> set[str]:
    """Forgotten samples that the chain of releases is made from: those whose release has its parent's model still.

    That model learned them, so a catalog without them would break the chain and delete nothing. A purge removes the
    model, and from then on no build brings them back.
    """
    live = live_release(paths)
    if live == BASE or not paths.release(live).forget.is_file():
        return set()
    unpurged = {name for parent, name in pairwise(chain(paths)) if weights(paths, parent).is_file()}
    return {row.sample_id for row in read_forget(paths.release(live).forget) if row.release in unpurged}


if __name__ == "__main__":
    step_main(catalog)
