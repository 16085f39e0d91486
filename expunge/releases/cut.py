"""Cut a release: freeze a batch of approved requests into a folder of its own, and make it live."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.library import check_version
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import (
    chain,
    has_passed,
    is_finished,
    live_release,
    load_release,
    next_name,
    served_requests,
)
from expunge.releases.release import MethodChoice, Release, check_name
from expunge.releases.stages import stages_text
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest


@dataclass(frozen=True)
class ReleasePlan:
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


def plan(paths: Paths, ledger: Ledger) -> ReleasePlan:
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
        return ReleasePlan(None, waiting, again)
    if not is_finished(paths, live):
        return ReleasePlan(live, waiting, again)
    if waiting and not has_passed(paths, live):
        raise ExpungeError(
            f"Release {live} failed its gate, and no release may be built on it. Try another method: edit "
            f"{paths.release(live).description} and run `dvc repro`."
        )
    return ReleasePlan(None, waiting, again)


def drop_withdrawn(paths: Paths, ledger: Ledger) -> str | None:
    """Undo the cut of the live release if it serves nobody yet and holds a request that was withdrawn meanwhile.

    The parent is live again and the other requests wait for the next release. Files of a release that failed its gate
    stay, for the record; those of an unfinished one go.

    Returns:
        The name of that release, None where there is nothing to undo.
    """
    live = live_release(paths)
    if live == BASE or (is_finished(paths, live) and has_passed(paths, live)):
        return None
    description = load_release(paths, live)
    # By digest: in a clone's ledger another request may have the same id.
    withdrawn = {record.request.digest for record in ledger.records("withdrawn")}
    if withdrawn.isdisjoint(request.digest for request in description.requests):
        return None
    write_bytes(paths.live, yaml.safe_dump({"live": description.parent}).encode())
    if not is_finished(paths, live):
        shutil.rmtree(paths.release(live).folder)
    return live


def create_release(
    paths: Paths, requests: Sequence[DeletionRequest], method: str, gold: bool, name: str | None = None
) -> Release:
    """Freeze `requests` into a new release whose parent is the live one, and make it live.

    Raises:
        ExpungeError: the name is taken or cannot be a folder's, the files cannot be written, or the project's stages
            are written for another version of the library; then nothing changed.
    """
    check_version(paths)
    name = name or next_name(paths)
    try:
        check_name(name)
    except ValueError as error:
        raise ExpungeError(f"{str(error)[0].upper()}{str(error)[1:]}.") from None
    existing = chain(paths)
    if name in existing or is_finished(paths, name):
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


def _publish(paths: Paths, release: Release) -> None:
    folder = paths.release(release.release).folder
    staging = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".partial", dir=folder.parent))
    try:
        content = release.model_dump(mode="json", exclude_none=True)
        text = yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)
        write_bytes(staging / "release.yaml", text.encode())
        write_bytes(staging / "dvc.yaml", stages_text(paths, release).encode())
        staging.chmod(0o755)
        if folder.exists():
            shutil.rmtree(folder)
        staging.replace(folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)
