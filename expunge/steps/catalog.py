"""Step `catalog`: the source of params.yaml without what must not come back → data/catalog and the quarantine."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

import yaml

from expunge import __version__, corpus
from expunge.corpus.build import Places, build_catalog
from expunge.corpus.fingerprint import watched
from expunge.corpus.records import Mapper
from expunge.corpus.sample import Sample
from expunge.corpus.sources import open_source
from expunge.corpus.splits import check_calibration
from expunge.lineage.digests import weights
from expunge.near_duplicates.suppression import Suppressed
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of, sha256_file, write_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, live_release
from expunge.selection.sets import read_forget
from expunge.settings import Params
from expunge.steps import step_main


def catalog(paths: Paths, params: Params, release: str) -> None:
    """Write the catalog; the release is always `base`."""
    _check_watched(paths, params)
    suppressed, needed = Suppressed.load(paths), still_needed(paths)

    def keep_out(sample: Sample) -> str | None:
        return None if sample.sample_id in needed else suppressed.evidence(sample)

    built = build_catalog(
        Places(paths.catalog, paths.quarantine, paths.catalog_state),
        lambda: open_source(params.catalog),
        params.catalog,
        Mapper(params.catalog),
        keep_out,
        _context(paths, needed),
    )
    if suppressed:
        write_json(paths.kept_out, built.kept_out)
        print(
            f"catalog: {len(built.kept_out)} samples kept out as forgotten, listed in {paths.kept_out}; "
            f"{len(needed)} more stay until `expunge purge`"
        )
    print(f"catalog: {built.intake.sentence()}, listed in {paths.quarantine}")
    check_calibration(built.catalog.split_ids("calibration"))
    print(
        f"catalog: {len(built.catalog)} samples in {len(built.catalog.shards)} shards "
        f"({built.written} written, {built.kept} kept), digest {built.catalog.digest[:12]}"
    )


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


def _context(paths: Paths, needed: set[str]) -> str:
    """What every shard depends on beside its rows: the code that makes it, and what must not come back."""
    room = Path(corpus.__path__[0])
    code = [[path.relative_to(room).as_posix(), sha256_file(path)] for path in sorted(room.rglob("*.py"))]
    listed = sha256_file(paths.suppression) if paths.suppression.is_file() else None
    return digest_of([__version__, code, listed, sorted(needed)])


def _check_watched(paths: Paths, params: Params) -> None:
    """Refuse to build from data that DVC does not watch: a change of it would go unnoticed."""
    if not paths.pipeline.is_file():
        return
    stages = (yaml.safe_load(paths.pipeline.read_text(encoding="utf-8")) or {}).get("stages") or {}
    known = set((stages.get("catalog") or {}).get("deps") or ())
    if missing := [place for place in watched(params.catalog) if place not in known]:
        raise ExpungeError(
            f"params.yaml names data that dvc.yaml does not depend on ({', '.join(missing)}); run `expunge stages`."
        )


if __name__ == "__main__":
    step_main(catalog)
