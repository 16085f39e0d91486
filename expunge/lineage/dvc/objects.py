"""DVC's object stores on this machine: the cache, its run cache, and remotes that are folders.

An object is a file named by the MD5 of its content (`files/md5/ab/cdef…`), so it is deleted by name, one by one;
`dvc gc` has no choice between everything and what belongs to a release. What stays is what the workspace uses. A store
inside the project is the project's own, and everything else in it goes. A store outside may serve other projects: only
objects that this project's locks, run cache or git history name go.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths

if TYPE_CHECKING:
    from dvc.repo import Repo

RUNS = "runs"


@dataclass(frozen=True)
class ObjectStore:
    """One store.

    Attributes:
        name: `cache`, or the remote's name.
        folder: where the objects lie.
        runs: where the run cache lies, which names inputs and outputs of every run of a stage.
        own: whether it lies inside the project.
    """

    name: str
    folder: Path
    runs: Path
    own: bool

    def objects(self) -> dict[str, Path]:
        """Digest → file; a folder's listing has a digest that ends in `.dir`."""
        return {path.parent.name + path.name: path for path in sorted(self.folder.glob("??/*")) if path.is_file()}

    def surplus(self, used: Collection[str], known: Collection[str]) -> list[Path]:
        """Objects that a purge deletes, given what the workspace uses and what the project has ever known."""
        return [path for oid, path in self.objects().items() if oid not in used and (self.own or oid in known)]

    def surplus_runs(self, known: Collection[str]) -> list[Path]:
        """Entries of the run cache that a purge deletes: no stage that they belong to can run again."""
        return [path for path in _entries(self.runs) if self.own or set(_named(path)) & set(known)]


@contextmanager
def opened(paths: Paths) -> Iterator[Repo]:
    """The project's DVC repository, without DVC's comments on what is done to it.

    Raises:
        ExpungeError: DVC refuses, or the block does in DVC's words.
    """
    from dvc.exceptions import DvcException
    from dvc.logger import set_loggers_level
    from dvc.repo import Repo

    try:
        with set_loggers_level(logging.ERROR), Repo(str(paths.root), _wait_for_lock=True) as repo:
            yield repo
    except DvcException as error:
        said = " ".join(reason(error).split())
        raise ExpungeError(f"DVC says: {said:.500} See `dvc status`, mend that, and try again.") from error


def reason(error: BaseException) -> str:
    """The innermost message of DVC's chain of causes."""
    while error.__cause__ is not None:
        error = error.__cause__
    return str(error)


def stores(paths: Paths) -> tuple[list[ObjectStore], list[str]]:
    """The stores on this machine, and the addresses of the remotes that are elsewhere."""
    with opened(paths) as repo:
        root = paths.root.resolve()
        folder, runs = Path(repo.cache.local.path), Path(repo.stage_cache.cache_dir)
        found, elsewhere = [ObjectStore("cache", folder, runs, folder.resolve().is_relative_to(root))], []
        for name in sorted(repo.config["remote"]):
            odb = repo.cloud.get_remote_odb(name)
            if odb.fs.protocol != "local":
                elsewhere.append(f"{name} ({odb.fs.protocol})")
                continue
            folder = Path(odb.path)
            runs = Path(repo.cloud.get_remote(name).path) / RUNS
            found.append(ObjectStore(name, folder, runs, folder.resolve().is_relative_to(root)))
    return found, elsewhere


def known_objects(paths: Paths, found: Sequence[ObjectStore]) -> set[str]:
    """Every object that this project's locks, its run cache or a commit of its git history names."""
    with opened(paths) as repo:
        used = repo.used_objs(all_commits=True, all_experiments=True, skip_failed=True)
    oids = {info.value for infos in used.values() for info in infos}
    cache = found[0]
    for entry in _entries(cache.runs):
        for oid in _named(entry):
            oids |= {oid, *_members(cache.folder, oid)}
    return oids


def used_objects(paths: Paths, targets: Sequence[str] | None = None) -> set[str]:
    """The objects of the workspace, or of some of its outputs; a folder's members count."""
    with opened(paths) as repo:
        used = repo.used_objs(targets=list(targets) if targets else None)
    return {info.value for infos in used.values() for info in infos}


def refill(paths: Paths, remotes: Sequence[str]) -> None:
    """Push the workspace to remotes that were in use, before anything there is deleted."""
    with opened(paths) as repo:
        for name in remotes:
            repo.push(remote=name)


def forget_listings(paths: Paths, remotes: Sequence[str]) -> None:
    """Make DVC look again at what a remote holds: it remembers."""
    from dvc_data.hashfile.db import get_index

    with opened(paths) as repo:
        for name in remotes:
            get_index(repo.cloud.get_remote_odb(name)).clear()


def _entries(runs: Path) -> list[Path]:
    return sorted(path for path in runs.glob("*/*/*") if path.is_file())


def _named(entry: Path) -> list[str]:
    """Digests of the outputs that an entry of the run cache names."""
    content = yaml.load(entry.read_text(encoding="utf-8"), Loader=yaml.BaseLoader) or {}
    return [out["md5"] for out in content.get("outs", []) if "md5" in out]


def _members(folder: Path, oid: str) -> list[str]:
    listing = folder / oid[:2] / oid[2:]
    if not oid.endswith(".dir") or not listing.is_file():
        return []
    return [member["md5"] for member in json.loads(listing.read_text(encoding="utf-8"))]
