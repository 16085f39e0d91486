"""Cut a release: freeze a batch of approved requests into a folder of its own, and make it live.

Whoever cuts holds a lock from the moment of looking to the moment of writing, and looks again once it holds it. Else
two flows that plan side by side would freeze the same requests twice, and the second release, which has nothing left to
forget, could never be built.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Sequence
from pathlib import Path

import yaml

from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.library import check_version
from expunge.project.paths import Paths
from expunge.releases.chain import chain, is_finished, next_name, served_requests
from expunge.releases.plan import ReleasePlan, cutting, plan
from expunge.releases.release import MethodChoice, Release, check_name
from expunge.releases.stages import stages_text
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest


def create_release(
    paths: Paths,
    requests: Sequence[DeletionRequest],
    method: str,
    gold: bool,
    name: str | None = None,
    fallbacks: Sequence[str] = (),
) -> Release:
    """Freeze `requests` into a new release whose parent is the live one, and make it live.

    Args:
        fallbacks: methods that are tried in turn where `method` fails the gate.

    Raises:
        ExpungeError: the name is taken or cannot be a folder's, a request is served already, the files cannot be
            written, or the project's stages are written for another version of the library; then nothing changed.
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
    served = served_requests(paths)
    if twice := [request.request_id for request in requests if request.request_id in served]:
        raise ExpungeError(f"Release {served[twice[0]]} serves {', '.join(twice)} already. Nothing was changed.")
    release = Release(
        release=name,
        parent=existing[-1],
        method=MethodChoice(name=method),
        fallbacks=tuple(MethodChoice(name=fallback) for fallback in fallbacks),
        gold=gold,
        requests=tuple(requests),
    )
    _publish(paths, release)
    write_bytes(paths.live, yaml.safe_dump({"live": name}).encode())
    return release


def cut_planned(
    paths: Paths,
    ledger: Ledger,
    seen: ReleasePlan,
    method: str,
    gold: bool,
    name: str | None = None,
    fallbacks: Sequence[str] = (),
) -> Release | None:
    """Cut what was `seen` to be waiting, if that is still so; None where the chain or the ledger moved meanwhile.

    Raises:
        ExpungeError: as `plan` and `create_release` do.
    """
    with cutting(paths):
        if plan(paths, ledger) != seen or seen.unfinished or not seen.requests:
            return None
        return create_release(paths, seen.requests, method, gold, name, fallbacks)


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
