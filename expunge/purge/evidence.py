"""The proof of a purge: a search of everything within reach for traces of what was forgotten → reports/R/purge.json.

It says what was removed, what was searched, what was found and what cannot be reached. It holds for these places at
that moment; it says nothing about what a model remembers, which the release's report measures.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import asdict
from pathlib import Path
from typing import Any

from expunge.corpus.catalog import Catalog
from expunge.lineage.dvc import objects, rebase
from expunge.lineage.dvc.objects import ObjectStore
from expunge.lineage.mlflow import retire
from expunge.models.sources import model_files
from expunge.project.clock import iso_seconds, utc_now
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of, read_json, write_json
from expunge.project.paths import Paths
from expunge.purge import places
from expunge.purge.journal import Journal
from expunge.purge.plan import shown
from expunge.purge.rows import retained_digest
from expunge.purge.scan import Remnant, scan
from expunge.purge.traces import coverage
from expunge.settings import Params

PSEUDONYMS = (
    "Sample ids are pseudonyms. They stay in the ledger, in requests and release.yaml, and in forget sets, where they "
    "say what was forgotten. There and in other files that git tracks, which people wrote, words do not count as "
    "findings either; pictures and vectors do, everywhere."
)
LIMITS = (
    "A picture is recognised by pieces of its encoded file, of its base64 and of its pixels, not after scaling or "
    "another encoding.",
    "Vectors are recognised as float16 and float32, not quantised. Captions of one short word count as whole values "
    "only, and names of digits only are not searched.",
    "What the remaining weights remember is measured by the report of the release, not by this search.",
)


def prove(paths: Paths, params: Params, journal: Journal, forgotten: Collection[str]) -> None:
    """Search, and write what was found; where something was, the next attempt does every step again.

    Raises:
        ExpungeError: something was found; the proof names the files.
    """
    stores, elsewhere = objects.stores(paths)
    records = retire.survey(paths, params.mlflow, {})
    traces = journal.traces()
    folders = places.searched(paths, stores, records.home)
    skipped = places.skipped(paths)
    result = scan(
        folders,
        traces,
        skip=skipped,
        may_hold=places.pseudonyms_allowed(paths, params, journal.kept),
        shown=lambda path: shown(paths, path),
    )
    findings = [*_still_there(paths, journal, stores), *result.findings]
    catalog = Catalog(paths.catalog)
    content = {
        "release": journal.release,
        "purged": journal.gone,
        "kept": journal.kept,
        "began_at": journal.began_at,
        "ended_at": iso_seconds(utc_now()),
        "clean": not findings and not result.unread,
        "forgotten": {"samples": len(forgotten), "digest": digest_of(sorted(forgotten)), "traces": coverage(traces)},
        "retained": {"samples": len(catalog), "digest": retained_digest(catalog, set())},
        "removed": journal.removed,
        "scan": {
            "folders": [shown(paths, folder) for folder in folders],
            "files": result.files,
            "bytes": result.bytes,
            "seconds": result.seconds,
            "traces": len(traces),
            "findings": [asdict(finding) for finding in findings],
            "unread": result.unread,
        },
        "out_of_reach": places.out_of_reach(
            paths, catalog, stores, elsewhere, skipped, model_files(paths.root, params.model, params.train)
        ),
        "pseudonyms": PSEUDONYMS,
        "limits": LIMITS,
    }
    where = paths.release(journal.release)
    write_json(where.purge, content)
    if not content["clean"]:
        journal.start_over()
        named = ", ".join(sorted({finding.path for finding in findings} | {entry["path"] for entry in result.unread}))
        raise ExpungeError(
            f"The purge of {journal.release} is not clean: {named:.300}. Remove or repair these files and run "
            f"`expunge purge {journal.release}` again; {where.purge} says what was found."
        )


def read(paths: Paths, release: str) -> dict[str, Any]:
    """The proof of a purge.

    Raises:
        ExpungeError: the release was not purged.
    """
    path = paths.release(release).purge
    if not path.is_file():
        raise ExpungeError(f"{path} is missing; `expunge purge {release}` writes it, `dvc checkout` brings it back.")
    return read_json(path)


def _still_there(paths: Paths, journal: Journal, stores: Collection[ObjectStore]) -> list[Remnant]:
    """What should be gone by its name, whatever it holds."""
    folders = [folder for name in journal.gone for folder in rebase.folders_of(paths, name)]
    used, known = objects.used_objects(paths), journal.known_objects()
    left = [shown(paths, folder) for folder in folders if folder.exists()]
    for store in stores:
        surplus = store.surplus(used, known)
        left += [shown(paths, Path(file.path)) if store.here else store.address(file.path) for file in surplus]
    return [Remnant(name, "not removed", 0) for name in left]
