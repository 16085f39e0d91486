"""What a purge would remove, surface by surface, before anything is touched."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow.compute as pc

from expunge.corpus.catalog import Catalog
from expunge.lineage.dvc import objects, rebase
from expunge.lineage.dvc.locks import read_locks, relative
from expunge.lineage.dvc.objects import ObjectStore, StoredObject
from expunge.lineage.mlflow import retire
from expunge.lineage.trace import trace
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of, sha256_file
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, is_purged
from expunge.releases.registration import registered
from expunge.selection.sets import read_forget
from expunge.settings import Params


@dataclass(frozen=True)
class Item:
    """One thing that a purge removes.

    Attributes:
        path: a file or folder relative to the root where it lies inside, else its full path.
        digest: SHA-256 over the names and digests of its files.
    """

    surface: str
    path: str
    files: int
    bytes: int
    digest: str
    why: str


@dataclass(frozen=True)
class PurgePlan:
    """A purge that could begin.

    Attributes:
        gone: ancestors of the release, which go, from `base` on.
        kept: the release and its descendants, which stay.
        forgotten: ids of all samples whose content goes.
    """

    release: str
    gone: list[str]
    kept: list[str]
    forgotten: frozenset[str]
    items: list[Item]


def plan(paths: Paths, params: Params, release: str) -> PurgePlan:
    """Look at every surface; nothing is changed.

    Raises:
        ExpungeError: the release cannot be the new beginning of the chain; the message says what to do first.
    """
    names = chain(paths)
    if release not in names:
        raise ExpungeError(f"There is no release {release}; known releases: {', '.join(names)}.")
    if release == BASE:
        raise ExpungeError("base has forgotten nothing; name a release whose forgotten content is to be removed.")
    place = names.index(release)
    gone, kept = [name for name in names[:place] if not is_purged(paths, name)], names[place:]
    if not gone:
        raise ExpungeError(f"{release} was purged already; {paths.release(release).purge} is the proof.")
    _check_kept(paths, params, release, kept)
    digests = {name: registered(paths, name).release_digest for name in kept}
    records = retire.survey(paths, params.mlflow, digests)
    if "champion" in records.aliases:
        raise ExpungeError(
            f"The alias champion is still on release {records.aliases['champion']}, whose weights this purge removes. "
            f"Move it to {release} first."
        )
    forgotten = frozenset(row.sample_id for row in read_forget(paths.release(release).forget))
    items = [
        *_catalog_items(paths, forgotten),
        *_release_items(paths, gone),
        *_leftover_items(paths),
        *(_item(paths, "MLflow", path, "weights and reports of older models") for path in records.folders),
        *_store_items(paths, kept, forgotten),
    ]
    return PurgePlan(release, gone, kept, forgotten, items)


def _check_kept(paths: Paths, params: Params, release: str, kept: Sequence[str]) -> None:
    """What stays must be what was registered: afterwards nothing can build it again."""
    for name in kept:
        if not paths.release(name).registration.is_file():
            raise ExpungeError(f"Release {name} is not finished; run `dvc repro` first.")
        if registered(paths, name).verdict != "passed" and name == release:
            raise ExpungeError(f"Release {release} failed its gate; purge only what a sound release can replace.")
        locks = read_locks(paths)
        for path in rebase.outputs_of(paths, name):
            if not (paths.root / path).exists():
                raise ExpungeError(f"{path} is missing; run `dvc checkout` or `dvc repro` before {release} is purged.")
            if locks.md5(path) is None:
                raise ExpungeError(f"DVC does not know {path}; run `dvc repro` before {release} is purged.")
        if not trace(paths, params, name).intact:
            raise ExpungeError(f"Release {name} is not what was registered; see `expunge trace {name}`.")


def _catalog_items(paths: Paths, forgotten: frozenset[str]) -> Iterable[Item]:
    for path, rows in forgotten_rows(paths, forgotten).items():
        if rows:
            yield _item(paths, "catalog", path, f"rewritten without {rows} forgotten samples")


def forgotten_rows(paths: Paths, forgotten: frozenset[str]) -> dict[Path, int]:
    """Shard → how many forgotten samples it holds."""
    import pyarrow as pa

    catalog, ids = Catalog(paths.catalog), pa.array(sorted(forgotten), pa.string())
    return {
        shard.path: (rows := catalog.read_shard(shard, ["sample_id"])).filter(pc.is_in(rows["sample_id"], ids)).num_rows
        for shard in catalog.shards
    }


def _release_items(paths: Paths, gone: Sequence[str]) -> Iterable[Item]:
    for name in gone:
        where = paths.release(name)
        why = {
            where.model: f"weights of {name} have seen it",
            where.gold: f"weights of {name} may have seen it",
            where.sets: f"sets of {name}",
            where.embeddings: f"vectors under {name}",
            where.index: f"vectors under {name}",
            where.reports: f"reports of {name}",
        }
        for folder in rebase.folders_of(paths, name):
            if folder.exists():
                yield _item(paths, folder.relative_to(paths.root).parts[0], folder, why[folder])


def _leftover_items(paths: Paths) -> Iterable[Item]:
    known = {paths.previews: "pictures shown before an approval", paths.kept_out: "ids that a source brought again"}
    for path in leftovers(paths):
        yield _item(paths, "temporary", path, known.get(path, "state of unfinished runs"))


def leftovers(paths: Paths) -> list[Path]:
    """Checkpoints, preview pages, the list of what was kept out, and files that a killed process left half written."""
    found = [path for path in (paths.checkpoints, paths.previews, paths.kept_out) if path.exists()]
    for folder in (paths.root / "data", paths.root / "models", paths.root / "reports", paths.live.parent):
        found += sorted(folder.rglob(".*.partial"))
    return found


def _store_items(paths: Paths, kept: Sequence[str], forgotten: frozenset[str]) -> Iterable[Item]:
    stores, _ = objects.stores(paths)
    known = objects.known_objects(paths, stores)
    outputs = [path for name in kept for path in rebase.outputs_of(paths, name)]
    untouched = [relative(paths, path) for path, rows in forgotten_rows(paths, forgotten).items() if not rows]
    used = objects.used_objects(paths, [*outputs, *untouched])
    for store in stores:
        surplus, runs = store.surplus(used, known), store.surplus_runs(known)
        where = "DVC cache" if store is stores[0] else f"DVC remote {store.name}"
        if surplus:
            yield _stored(paths, where, store, store.folder, surplus, "objects that nothing that stays uses")
        if runs:
            yield _stored(paths, where, store, store.runs, runs, "records of runs, which would bring objects back")


def _stored(
    paths: Paths, surface: str, store: ObjectStore, folder: str, files: Sequence[StoredObject], why: str
) -> Item:
    """An object of DVC is named by its digest: hashing it again would say nothing new."""
    names = {posixpath.relpath(file.path, folder): "" for file in files}
    place = shown(paths, Path(folder)) if store.here else store.address(folder)
    return Item(surface, place, len(files), sum(file.size for file in files), digest_of(names), why)


def _item(paths: Paths, surface: str, path: Path, why: str) -> Item:
    files = sorted(file for file in path.rglob("*") if file.is_file()) if path.is_dir() else [path]
    digests = {str(file.relative_to(path) if path.is_dir() else file.name): sha256_file(file) for file in files}
    size = sum(file.stat().st_size for file in files)
    return Item(surface, shown(paths, path), len(files), size, digest_of(digests), why)


def shown(paths: Paths, path: Path) -> str:
    """`path` as reports spell it: relative to the project where it lies inside."""
    whole, root = path.resolve(), paths.root.resolve()
    return str(whole.relative_to(root) if whole.is_relative_to(root) else whole)
