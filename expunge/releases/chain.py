"""Releases: the small files in git that say which requests a model serves, by which method, from which parent.

`releases/R/release.yaml` freezes everything that decides what release R is; `releases/R/dvc.yaml` holds its stages, the
same text for every release but for the names; `releases/live.yaml` names the newest one. A release exists once
`live.yaml` leads to it: a folder that a killed process left behind is replaced by the next attempt.
"""

from __future__ import annotations

import re

from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.paths import BASE, Paths
from expunge.project.schema import validated
from expunge.releases.registration import registered
from expunge.releases.release import Live, MethodChoice, Release


def load_release(paths: Paths, name: str) -> Release:
    """Read and validate one release.

    Raises:
        ExpungeError: there is no such release, or its description breaks the schema.
    """
    path = paths.release(name).description
    if not path.is_file():
        known = ", ".join(chain(paths)) or "none"
        raise ExpungeError(f"There is no release {name}; known releases: {known}.")
    release = validated(Release, path)
    if release.release != name:
        raise ExpungeError(f"{path}: release is {release.release!r}, but the folder is named {name!r}.")
    return release


def live_release(paths: Paths) -> str:
    """The newest release's name, `base` where there is none."""
    return validated(Live, paths.live).live if paths.live.is_file() else BASE


def chain(paths: Paths) -> list[str]:
    """Names from `base` to the live release.

    Raises:
        ExpungeError: a parent is missing, or the parents run in a circle.
    """
    names = [live_release(paths)]
    while names[-1] != BASE:
        description = paths.release(names[-1]).description
        if not description.is_file():
            raise ExpungeError(f"{description} is missing, but the chain of releases leads to it; restore it from git.")
        parent = validated(Release, description).parent
        if parent in names:
            raise ExpungeError(f"The parents of {names[0]} run in a circle at {parent}; mend {description}.")
        names.append(parent)
    return names[::-1]


def served_method(paths: Paths, release: Release) -> MethodChoice:
    """The method that made the release's model: of a ladder the rung that served, the first until one has."""
    made = paths.release(release.release).unlearning
    name = read_json(made)["method"] if release.fallbacks and made.is_file() else release.method.name
    return next((rung for rung in release.rungs if rung.name == name), release.method)


def served_requests(paths: Paths) -> dict[str, str]:
    """Request id → the release that froze it."""
    return {
        request.request_id: name
        for name in chain(paths)
        if name != BASE
        for request in load_release(paths, name).requests
    }


def is_purged(paths: Paths, name: str) -> bool:
    """Whether only the tombstone of release `name` is left."""
    return paths.release(name).tombstone.is_file()


def check_not_half_purged(paths: Paths) -> None:
    """Refuse to build while a purge is half done: a stage could bring back what it has removed.

    Raises:
        ExpungeError: a purge was begun and not finished.
    """
    for name in paths.half_purged:
        raise ExpungeError(f"A purge of {name} was begun and not finished; run `expunge purge {name}` to finish it.")


def honoured_requests(paths: Paths) -> dict[str, str]:
    """Request id → the release that the live model honours it by; none of a live release that has not passed its gate.

    The releases before the live one have passed, for none is built on one that has not.
    """
    live = live_release(paths)
    sound = live != BASE and is_finished(paths, live) and has_passed(paths, live)
    return {request_id: name for request_id, name in served_requests(paths).items() if name != live or sound}


def next_name(paths: Paths) -> str:
    """`r001`, `r002`, …: one more than the highest number in the chain or of any release that was ever finished here.

    Where `live.yaml` was set back, the releases that were left behind keep their names and their files.
    """
    registrations = paths.release("*").registration.relative_to(paths.root)
    finished = [path.parent.name for path in paths.root.glob(registrations.as_posix())]
    numbers = [int(name[1:]) for name in [*chain(paths), *finished] if re.fullmatch(r"r\d+", name)]
    return f"r{max(numbers, default=0) + 1:03d}"


def is_finished(paths: Paths, name: str) -> bool:
    return paths.release(name).registration.is_file()


def has_passed(paths: Paths, name: str) -> bool:
    return registered(paths, name).verdict == "passed"
