"""Releases: the small files in git that say which requests a model serves, by which method, from which parent.

`releases/R/release.yaml` freezes everything that decides what release R is; `releases/R/dvc.yaml` holds its stages, the
same text for every release; `releases/live.yaml` names the newest one. A release exists once `live.yaml` leads to it:
a folder that a killed process left behind is replaced by the next attempt.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from importlib.resources import files
from pathlib import Path
from typing import Any

import yaml
from pydantic import Field, field_validator

from expunge.catalog import Catalog
from expunge.config import Block, validated
from expunge.errors import ExpungeError
from expunge.files import read_json, write_bytes
from expunge.ledger import Ledger
from expunge.paths import BASE, Paths
from expunge.requests import DeletionRequest
from expunge.search import text_scores
from expunge.selection import ForgetRow, read_forget, select

NAME = re.compile(r"[a-z0-9][a-z0-9-]{0,39}")


class MethodChoice(Block):
    """The unlearning method of a release; `params` override the method's block in params.yaml."""

    name: str
    params: dict[str, Any] = Field(default_factory=dict)


class Release(Block):
    """The content of `release.yaml`."""

    release: str
    parent: str
    method: MethodChoice
    gold: bool = Field(True, description="also retrain without the forget set, to compare with")
    requests: tuple[DeletionRequest, ...] = Field(min_length=1)

    @field_validator("release")
    @classmethod
    def _plain_name(cls, name: str) -> str:
        check_name(name)
        return name


class Live(Block):
    """The content of `live.yaml`; DVC reads it too, beside params.yaml, so the key is none of its blocks."""

    live: str


def check_name(name: str) -> None:
    """Raises `ValueError` unless `name` can be a folder and an MLflow tag: it becomes part of paths."""
    if not NAME.fullmatch(name) or name in (BASE, "gold", "live"):
        raise ValueError(f"a release name is lower-case letters, digits and dashes, not {name!r}")


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


def honoured_requests(paths: Paths) -> dict[str, str]:
    """Request id → the release that the live model honours it by; none of a live release that has not passed its gate.

    The releases before the live one have passed, for none is built on one that has not.
    """
    live = live_release(paths)
    sound = live != BASE and _finished(paths, live) and _passed(paths, live)
    return {request_id: name for request_id, name in served_requests(paths).items() if name != live or sound}


def next_name(paths: Paths) -> str:
    """`r001`, `r002`, …: one more than the highest number in the chain or of any release that was ever finished here.

    Where `live.yaml` was set back, the releases that were left behind keep their names and their files.
    """
    registrations = paths.release("*").registration.relative_to(paths.root)
    finished = [path.parent.name for path in paths.root.glob(registrations.as_posix())]
    numbers = [int(name[1:]) for name in [*chain(paths), *finished] if re.fullmatch(r"r\d+", name)]
    return f"r{max(numbers, default=0) + 1:03d}"


@dataclass(frozen=True)
class Plan:
    """What the next run of the release flow has to do.

    Attributes:
        unfinished: a release that was cut but never registered, to be finished first, or None.
        requests: approved requests that no release serves yet, and those in `again`, by number.
        again: ids of requests that an earlier release served which is no longer in the chain, as after a restore of an
            older model or a new base: the live model does not honour them.
    """

    unfinished: str | None
    requests: tuple[DeletionRequest, ...]
    again: tuple[str, ...] = ()


def plan(paths: Paths, ledger: Ledger) -> Plan:
    """Look at the chain and the ledger; nothing is changed.

    Raises:
        ExpungeError: the live release failed its gate, so nothing may be built on it.
    """
    live = live_release(paths)
    served = served_requests(paths)
    left_behind = [request for request in ledger.released() if request.request_id not in served]
    fresh = [request for request in ledger.approved_unserved() if request.request_id not in served]
    waiting = tuple(sorted([*left_behind, *fresh], key=lambda request: int(request.request_id.removeprefix("req-"))))
    again = tuple(request.request_id for request in left_behind)
    if live == BASE:
        return Plan(None, waiting, again)
    if not _finished(paths, live):
        return Plan(live, waiting, again)
    if waiting and not _passed(paths, live):
        raise ExpungeError(
            f"Release {live} failed its gate, and no release may be built on it. Try another method: edit "
            f"{paths.release(live).description} and run `dvc repro`."
        )
    return Plan(None, waiting, again)


def drop_withdrawn(paths: Paths, ledger: Ledger) -> str | None:
    """Undo the cut of the live release if it serves nobody yet and holds a request that was withdrawn meanwhile.

    The parent is live again and the other requests wait for the next release. Files of a release that failed its gate
    stay, for the record; those of an unfinished one go.

    Returns:
        The name of that release, None where there is nothing to undo.
    """
    live = live_release(paths)
    if live == BASE or (_finished(paths, live) and _passed(paths, live)):
        return None
    description = load_release(paths, live)
    # By digest: in a clone's ledger another request may have the same id.
    withdrawn = {record.request.digest for record in ledger.list("withdrawn")}
    if withdrawn.isdisjoint(request.digest for request in description.requests):
        return None
    write_bytes(paths.live, yaml.safe_dump({"live": description.parent}).encode())
    if not _finished(paths, live):
        shutil.rmtree(paths.release(live).folder)
    return live


def _finished(paths: Paths, name: str) -> bool:
    return paths.release(name).registration.is_file()


def _passed(paths: Paths, name: str) -> bool:
    return read_json(paths.release(name).registration)["verdict"] == "passed"


def create_release(
    paths: Paths, requests: Sequence[DeletionRequest], method: str, gold: bool, name: str | None = None
) -> Release:
    """Freeze `requests` into a new release whose parent is the live one, and make it live.

    Raises:
        ExpungeError: the name is taken or cannot be a folder's, or the files cannot be written; then nothing changed.
    """
    name = name or next_name(paths)
    try:
        check_name(name)
    except ValueError as error:
        raise ExpungeError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    existing = chain(paths)
    if name in existing or _finished(paths, name):
        raise ExpungeError(
            f"Release {name} exists already. Choose another --name; to try another method on {name}, edit "
            f"{paths.release(name).description} and run `dvc repro`."
        )
    release = Release(
        release=name,
        parent=existing[-1],
        method=MethodChoice(name=method),
        gold=gold,
        requests=tuple(requests),
    )
    _publish(paths, release)
    write_bytes(paths.live, yaml.safe_dump({"live": name}).encode())
    return release


def forget_rows(
    paths: Paths, requests: Sequence[DeletionRequest], name: str, parent: str
) -> tuple[list[ForgetRow], list[ForgetRow]]:
    """What release `name` inherits from `parent`, and what its own `requests` select from the rest of the catalog.

    Also run before a release is cut, so that a batch that cannot be served leaves nothing half made.

    Raises:
        ExpungeError: a request selects nothing or names something unknown, or the batch selects everything.
    """
    inherited = [] if parent == BASE else read_forget(paths.release(parent).forget)
    earlier = {row.sample_id for row in inherited}
    scores = partial(text_scores, paths, parent)
    return inherited, select(Catalog(paths.catalog), requests, name, earlier, scores)


def _publish(paths: Paths, release: Release) -> None:
    folder = paths.release(release.release).folder
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        content = release.model_dump(mode="json", exclude_none=True)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        write_bytes(staging / "release.yaml", text.encode())
        write_bytes(staging / "dvc.yaml", stages_text(release).encode())
        staging.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


def stages_text(release: Release) -> str:
    """The text of a release's `dvc.yaml`.

    DVC fills in the names from `release.yaml`, so only two things vary: the gold standard may be left out, and the
    first release has no earlier forget set to inherit.
    """
    import jinja2

    template = (files("expunge") / "release.dvc.yaml.j2").read_text(encoding="utf-8")
    environment = jinja2.Environment(trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True, autoescape=False)
    return environment.from_string(template).render(gold=release.gold, first=release.parent == BASE)
