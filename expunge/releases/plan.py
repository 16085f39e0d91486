"""What the next release has to serve, by the chain and the ledger; and the way back from a cut that must not be."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import yaml
from filelock import FileLock

from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import (
    chain,
    check_not_half_purged,
    has_passed,
    is_finished,
    live_release,
    load_release,
    served_requests,
)
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest


@dataclass(frozen=True)
class ReleasePlan:
    """What the next run of the release flow has to do.

    Attributes:
        live: the release that the next one would be built on.
        unfinished: a release that was cut but never registered, to be finished first, or None.
        requests: approved requests that no release serves yet, and those in `again`, by number.
        again: ids of requests that an earlier release served which is no longer in the chain, as after a restore of an
            older model or a new base: the live model does not honour them.
    """

    live: str
    unfinished: str | None
    requests: tuple[DeletionRequest, ...]
    again: tuple[str, ...] = ()


def plan(paths: Paths, ledger: Ledger) -> ReleasePlan:
    """Look at the chain and the ledger; nothing is changed.

    Raises:
        ExpungeError: the ledger cannot be trusted; a purge was begun and not finished; the live release failed its
            gate or was cut twice, so that nothing may be built on it and its requests are not served. The message
            names the command that ends this.
    """
    ledger.verify_chain()
    check_not_half_purged(paths)
    live = live_release(paths)
    if twice := cut_twice(paths):
        raise ExpungeError(
            f"Release {live} was cut of requests that an earlier release serves ({', '.join(twice)}) and can never be "
            "built. `expunge repair` undoes the cut; whatever else it holds then waits for the next release."
        )
    if has_failed(paths, live):
        raise ExpungeError(
            f"Release {live} failed its gate, so its requests ({', '.join(requests_of(paths, live))}) are not served "
            f"and no release may be built on it. Try another method: edit {paths.release(live).description} and run "
            f"`dvc repro`; or `expunge repair` sets the chain back to {load_release(paths, live).parent}, and "
            "`expunge release --method NAME` serves them with the next release."
        )
    served = served_requests(paths)
    left_behind = [request for request in ledger.released() if request.request_id not in served]
    fresh = [request for request in ledger.approved_unserved() if request.request_id not in served]
    waiting = tuple(sorted([*left_behind, *fresh], key=lambda request: int(request.request_id.removeprefix("req-"))))
    again = tuple(request.request_id for request in left_behind)
    unfinished = live if live != BASE and not is_finished(paths, live) else None
    return ReleasePlan(live, unfinished, waiting, again)


def requests_of(paths: Paths, name: str) -> list[str]:
    """Ids of the requests that release `name` froze."""
    return [request.request_id for request in load_release(paths, name).requests]


def has_failed(paths: Paths, name: str) -> bool:
    """Whether release `name` is finished and did not pass its gate."""
    return name != BASE and is_finished(paths, name) and not has_passed(paths, name)


def cut_twice(paths: Paths) -> list[str]:
    """Requests of the live release that a release before it in the chain serves already."""
    *before, live = chain(paths)
    earlier = {request for name in before if name != BASE for request in requests_of(paths, name)}
    return [] if live == BASE else [request for request in requests_of(paths, live) if request in earlier]


@contextmanager
def cutting(paths: Paths) -> Iterator[None]:
    """Be the only one who decides what the next release serves; a lock that the system drops with its process."""
    paths.cutting.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(paths.cutting):
        yield


def set_back(paths: Paths) -> str:
    """Make the parent of the live release live again; return the name of the one that is left behind.

    Files of a release that is finished stay, for the record; the folder of an unfinished one goes.
    """
    live = live_release(paths)
    write_bytes(paths.live, yaml.safe_dump({"live": load_release(paths, live).parent}).encode())
    if not is_finished(paths, live):
        shutil.rmtree(paths.release(live).folder)
    return live


def drop_withdrawn(paths: Paths, ledger: Ledger) -> str | None:
    """Undo the cut of the live release if it serves nobody yet and holds a request that was withdrawn meanwhile.

    The parent is live again and the other requests wait for the next release. Files of a release that failed its gate
    stay, for the record; those of an unfinished one go.

    Returns:
        The name of that release, None where there is nothing to undo.
    """
    with cutting(paths):
        live = live_release(paths)
        if live == BASE or (is_finished(paths, live) and has_passed(paths, live)):
            return None
        # By digest: in a clone's ledger another request may have the same id.
        withdrawn = {record.request.digest for record in ledger.records("withdrawn")}
        if withdrawn.isdisjoint(request.digest for request in load_release(paths, live).requests):
            return None
        return set_back(paths)
