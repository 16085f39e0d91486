"""Where forgotten content is searched, where a pseudonym may stay, and what no purge can reach."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import sqlalchemy as sa

from expunge.corpus.catalog import Catalog
from expunge.lineage.dvc.objects import ObjectStore
from expunge.lineage.git import tracked_files
from expunge.project.files import sha256_file
from expunge.project.paths import Paths
from expunge.purge.prefect import shared_home
from expunge.settings import Params


def searched(paths: Paths, stores: Sequence[ObjectStore], records: Sequence[Path]) -> list[Path]:
    """The project, its Prefect home included, and what it keeps outside of its folder: DVC's stores, MLflow's files."""
    root = paths.root.resolve()
    outside = [Path(folder) for store in stores if store.here for folder in (store.folder, store.runs)]
    kept = {place.resolve() for place in (*outside, *records) if place.exists()}
    return [root, *sorted(place for place in kept if not place.is_relative_to(root))]


def skipped(paths: Paths) -> list[Path]:
    """Inside the project, but not the project's data: git's history, installed packages, the journal of the purge."""
    # A package installed from its folder leaves a copy of the README in its metadata.
    environments = [*(marker.parent for marker in paths.root.glob("*/pyvenv.cfg")), *paths.root.glob("*.egg-info")]
    return [path for path in (paths.root / ".git", paths.purges, *sorted(environments)) if path.is_dir()]


def pseudonyms_allowed(paths: Paths, params: Params, kept: Sequence[str]) -> Callable[[Path, str], bool]:
    """Whether a file may hold sample ids or words: requests and outcomes are recorded there, or people wrote it.

    What git tracks is code, documentation and requests. A caption may be an everyday word, and nothing there was made
    from the catalog, so only pictures and vectors count.
    """
    requests, releases = (paths.root / "requests").resolve(), paths.live.parent.resolve()
    forget_sets = {sha256_file(paths.release(name).forget) for name in kept}
    database = sa.make_url(params.ledger.url).database
    ledger = (paths.root / database).resolve() if database else None
    tracked = tracked_files(paths.root)

    def allowed(path: Path, kind: str) -> bool:
        if kind not in ("sample id", "caption"):
            return False
        described = path.name == "release.yaml" and path.parent.parent == releases
        recorded = path.is_relative_to(requests) or (ledger and path.name.startswith(ledger.name))
        if described or recorded or _source(path) in tracked:
            return True
        return kind == "sample id" and sha256_file(path) in forget_sets

    return allowed


def _source(path: Path) -> Path:
    """The file itself; for compiled Python the file that it was compiled from, whose docstrings it repeats."""
    compiled = path.suffix == ".pyc" and path.parent.name == "__pycache__"
    return path.parent.parent / f"{path.name.partition('.')[0]}.py" if compiled else path


def out_of_reach(
    paths: Paths,
    catalog: Catalog,
    stores: Sequence[ObjectStore],
    remotes: Sequence[str],
    skipped: Sequence[Path],
    sources: Sequence[str],
) -> list[str]:
    """What may still hold forgotten content or its pseudonyms, by name.

    Args:
        sources: files and folders that the project's first model was made from.
    """
    source = f"{catalog.manifest['source']} {catalog.manifest['source_version']}"
    listed = [
        f"the source of the data, {source}: what it publishes, packages installed from it, and their download caches",
        "backups, snapshots and clones of this project, and what others have downloaded from it",
        "free blocks of the disk, from which a deleted file can be recovered until they are used again",
    ]
    listed += [f"{place}, which the model was made from and which is its owner's to delete" for place in sources]
    listed += [
        f"models and vectors in DVC store {store.name} that no lock, run or commit of this project names"
        for store in stores
        if not store.own
    ]
    listed += [
        f"older versions, replicas and backups that the service behind DVC remote {store.name} keeps of "
        f"{store.address(store.folder)}; its objects were searched by their names, which are digests of what they hold"
        for store in stores
        if not store.here
    ]
    listed += [f"DVC remote {remote}, out of which nothing can be taken from here" for remote in remotes]
    if home := shared_home(paths):
        listed.append(
            f"{home}, Prefect's home outside of this project, which other projects share: parameters and logs of flow "
            "runs that were not made with the project's own home"
        )
    reasons = {".git": "what git tracks, and its history: ids, selectors, digests, and everyday words of captions"}
    return listed + [
        reasons.get(path.name, f"{path.relative_to(paths.root)}: installed packages")
        for path in skipped
        if path != paths.purges
    ]
