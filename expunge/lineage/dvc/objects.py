"""DVC's object stores: the cache, its run cache, and remotes, be they folders or buckets.

An object is a file named by the MD5 of its content (`files/md5/ab/cdef…`), so it is deleted by name, one by one;
`dvc gc` has no choice between everything and what belongs to a release. What stays is what the workspace uses. A store
inside the project is the project's own, and everything else in it goes. A store outside may serve other projects: only
objects that this project's locks, run cache or git history name go.
"""

from __future__ import annotations

import json
import logging
import posixpath
from collections.abc import Collection, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from expunge.project.errors import ExpungeError, one_line
from expunge.project.paths import Paths

if TYPE_CHECKING:
    from dvc.repo import Repo

RUNS = "runs"
WITHOUT_DELETION = ("http", "https")


@dataclass(frozen=True)
class StoredObject:
    """A file of a store: its path as the store's file system spells it, and its size in bytes."""

    path: str
    size: int


@dataclass(frozen=True)
class ObjectStore:
    """One store.

    Attributes:
        name: `cache`, or the remote's name.
        folder: where the objects lie.
        runs: where the run cache lies, which names inputs and outputs of every run of a stage.
        own: whether it lies inside the project.
        here: whether it is on this machine, so that what its files hold can be searched.
        fs: the file system of fsspec that both are on.
    """

    name: str
    folder: str
    runs: str
    own: bool
    here: bool
    fs: Any

    def objects(self) -> dict[str, StoredObject]:
        """Digest → object; a folder's listing has a digest that ends in `.dir`.

        Raises:
            ExpungeError: the store cannot be listed.
        """
        return {
            start + rest: file
            for file in self._files(self.folder)
            for start, _, rest in [posixpath.relpath(file.path, self.folder).partition("/")]
            if len(start) == 2 and rest and "/" not in rest
        }

    def surplus(self, used: Collection[str], known: Collection[str]) -> list[StoredObject]:
        """Objects that a purge deletes, given what the workspace uses and what the project has ever known."""
        return [file for oid, file in self.objects().items() if oid not in used and (self.own or oid in known)]

    def surplus_runs(self, known: Collection[str]) -> list[StoredObject]:
        """Entries of the run cache that a purge deletes: no stage that they belong to can run again."""
        entries = self.entries()
        if self.own:
            return entries
        with self._asked("read"):
            return [file for file in entries if set(self.named(file)) & set(known)]

    def entries(self) -> list[StoredObject]:
        """The run cache, one file for each run of a stage."""
        depth = 3
        return [
            file for file in self._files(self.runs) if len(posixpath.relpath(file.path, self.runs).split("/")) == depth
        ]

    def named(self, entry: StoredObject) -> list[str]:
        """Digests of the outputs that an entry of the run cache names."""
        content = yaml.load(self.fs.cat_file(entry.path), Loader=yaml.BaseLoader) or {}
        return [out["md5"] for out in content.get("outs", []) if "md5" in out]

    def remove(self, files: Iterable[StoredObject]) -> None:
        """Delete files, some of which may be gone already.

        Raises:
            ExpungeError: the store refuses.
        """
        if self.here:
            for file in files:
                Path(file.path).unlink(missing_ok=True)
        elif paths := [file.path for file in files]:
            with self._asked("emptied"):
                self.fs.rm(paths)

    def address(self, path: str) -> str:
        """A path of the store as people write it: with the protocol where it is elsewhere."""
        return path if self.here else str(self.fs.unstrip_protocol(path))

    def _files(self, folder: str) -> list[StoredObject]:
        with self._asked("listed"):
            self.fs.invalidate_cache()
            found = self.fs.find(folder, detail=True)
        return [StoredObject(path, int(info["size"])) for path, info in sorted(found.items()) if info["type"] == "file"]

    @contextmanager
    def _asked(self, done: str) -> Iterator[None]:
        """Turn whatever a service's client raises into a sentence; a purge that cannot see a store must not go on."""
        try:
            yield
        except Exception as error:
            if self.here:
                raise
            raise ExpungeError(
                f"DVC remote {self.name} cannot be {done} ({one_line(error):.200}). Mend its address or "
                f"credentials, or remove it by `dvc remote remove {self.name}` and delete what it holds yourself."
            ) from error


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
    """The cache and the remotes, and by name the remotes out of which nothing can be taken: those that are read by
    HTTP alone, and those that keep every version under the files' own names.

    Raises:
        ExpungeError: DVC lacks what it takes to speak to a remote.
    """
    from fsspec.implementations.local import LocalFileSystem

    with opened(paths) as repo:
        root, disk = paths.root.resolve(), LocalFileSystem()
        folder = repo.cache.local.path
        found = [ObjectStore("cache", folder, repo.stage_cache.cache_dir, _inside(folder, root), True, disk)]
        elsewhere = []
        for name in sorted(repo.config["remote"]):
            remote, odb = repo.cloud.get_remote(name), repo.cloud.get_remote_odb(name)
            if odb.fs.protocol in WITHOUT_DELETION or remote.worktree or odb.fs.version_aware:
                elsewhere.append(f"{name} ({odb.fs.protocol})")
                continue
            here = odb.fs.protocol == "local"
            runs, own = posixpath.join(remote.path, RUNS), here and _inside(odb.path, root)
            found.append(ObjectStore(name, odb.path, runs, own, here, disk if here else odb.fs.fs))
    return found, elsewhere


def _inside(folder: str, root: Path) -> bool:
    return Path(folder).resolve().is_relative_to(root)


def known_objects(paths: Paths, found: Sequence[ObjectStore]) -> set[str]:
    """Every object that this project's locks, its run cache or a commit of its git history names."""
    with opened(paths) as repo:
        used = repo.used_objs(all_commits=True, all_experiments=True, skip_failed=True)
    oids = {info.value for infos in used.values() for info in infos}
    cache = found[0]
    for entry in cache.entries():
        for oid in cache.named(entry):
            oids |= {oid, *_members(Path(cache.folder), oid)}
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


def _members(folder: Path, oid: str) -> list[str]:
    listing = folder / oid[:2] / oid[2:]
    if not oid.endswith(".dir") or not listing.is_file():
        return []
    return [member["md5"] for member in json.loads(listing.read_text(encoding="utf-8"))]
