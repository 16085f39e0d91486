"""The whole chain of one release, from any of its ends, with every digest checked against what lies on disk.

request ↔ release ↔ parents up to `base` ↔ model ↔ embeddings and index ↔ data version ↔ MLflow run and versions

A request id, a release, a model digest and a model version are four names for one thing, so all four give the same
answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

from expunge.lineage import digests
from expunge.lineage.account import (
    Account,
    Ancestor,
    DataVersion,
    NotInMlflow,
    RecordedInMlflow,
    RecordedVersion,
    ServedRequest,
)
from expunge.lineage.checks import digest_checks
from expunge.lineage.dvc.locks import relative
from expunge.lineage.lineage import Project
from expunge.models.files import WEIGHTS
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.releases.chain import served_method
from expunge.releases.registration import Registration
from expunge.requests.request import DeletionRequest
from expunge.settings import Params

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
ACCEPTED = (
    "a request id (req-0001), a release (r001), a model digest or its first 8 or more characters, or a model version "
    "(clip/3, v3, clip@candidate)"
)


def trace(paths: Paths, params: Params, thing: str) -> Account:
    """The chain of the release that `thing` belongs to; `intact` sums up the checks.

    Raises:
        ExpungeError: nothing is called that, or several releases are.
    """
    project = Project(paths, params)
    name = _find(project, thing.strip())
    checks = digest_checks(project, name)
    registration = project.registration(name)
    release = project.release(name)
    version, catalog = (registration.data_version, registration.catalog_digest) if registration else (None, None)
    return Account(
        release=name,
        parent=release.parent if release else None,
        ancestors=tuple(_summary(project, ancestor) for ancestor in project.ancestors(name)),
        children=tuple(other for other in project.names if project.parent(other) == name),
        requests=tuple(_request(request) for request in release.requests) if release else (),
        method=served_method(paths, release).name if release else None,
        verdict=_verdict(registration),
        release_digest=registration.release_digest if registration else None,
        model_digest=_model_digest(project, name),
        data=DataVersion(
            version=version or project.locks.md5(relative(paths, paths.catalog)),
            catalog_digest=catalog or project.catalog_digest,
        ),
        dvc=_dvc(project, name),
        mlflow=_mlflow(project, name),
        checks=tuple(checks),
        intact=all(check.state != "mismatch" for check in checks),
    )


# --- what is meant -----------------------------------------------------------------------------------------------


def _find(project: Project, thing: str) -> str:
    served = {request.request_id: name for name, release in project.releases.items() for request in release.requests}
    if thing in project.names:
        return thing
    if thing in served:
        return served[thing]
    if (version := _version_number(project, thing)) is not None:
        return _release_of_version(project, version)
    if digest := DIGEST.fullmatch(thing.lower()):
        return _release_of_digest(project, digest[1])
    _explain_unserved_request(project, thing)
    raise _unknown(project, thing, served)


def _version_number(project: Project, thing: str) -> str | None:
    model = re.escape(project.params.mlflow.registered_model)
    if named := re.fullmatch(rf"(?:models:/)?{model}@(\S+)", thing):
        if named[1] not in project.aliases:
            known = ", ".join(sorted(project.aliases)) or "none"
            raise ExpungeError(f"No model version has the alias {named[1]}; aliases in use: {known}.")
        return project.aliases[named[1]]
    numbered = re.fullmatch(rf"(?:(?:models:/)?{model}/)?v?(\d{{1,7}})", thing)
    return str(int(numbered[1])) if numbered else None


def _release_of_version(project: Project, number: str) -> str:
    model = project.params.mlflow.registered_model
    found = [version for version in project.versions if str(version.version) == number]
    if not found:
        known = ", ".join(str(version.version) for version in project.versions)
        state = f"versions: {known}" if known else "nothing is recorded in MLflow yet, run `dvc repro`"
        raise ExpungeError(f"There is no version {number} of model {model}; {state}.")
    name = found[0].tags.get("release", "")
    if name not in project.names:
        raise ExpungeError(
            f"Version {number} of model {model} is release {name or '(untagged)'}, which this checkout does not have; "
            "check out the commit in its tag git_commit."
        )
    return name


def _release_of_digest(project: Project, prefix: str) -> str:
    def known_as(name: str) -> Iterable[str | None]:
        if registration := project.registration(name):
            yield registration.model_digest
            yield registration.release_digest
        for version in project.versions_of(name):
            yield version.tags.get("model_digest")
            yield version.tags.get("release_digest")
            yield version.run_id

    def matching(digests_of: Callable[[str], Iterable[str | None]]) -> list[str]:
        return [name for name in project.names if any(d and d.startswith(prefix) for d in digests_of(name))]

    # Weights are hashed only if no record knows the digest: they may be large.
    found = matching(known_as) or matching(lambda name: [project.sha256(digests.weights(project.paths, name))])
    if not found:
        raise ExpungeError(
            f"No model has a digest that starts with {prefix}; `sha256sum models/*/{WEIGHTS}` lists what is there. "
            f"Give {ACCEPTED}."
        )
    if len(found) > 1:
        raise ExpungeError(f"{prefix} fits several releases: {', '.join(found)}. Give more characters or a release.")
    return found[0]


def _explain_unserved_request(project: Project, thing: str) -> None:
    if not re.fullmatch(r"req-\d{4,}", thing):
        return
    from expunge.requests.ledger import Ledger

    try:
        state = Ledger.open(project.params.ledger, project.paths.root).get(thing).state
    except ExpungeError:
        return
    raise ExpungeError(f"Request {thing} is {state}, and no release serves it yet; see `expunge request show {thing}`.")


def _unknown(project: Project, thing: str, served: dict[str, str]) -> ExpungeError:
    model = project.params.mlflow.registered_model
    known = [*project.names, *served, *(f"{model}/{version.version}" for version in project.versions)]
    close = difflib.get_close_matches(thing, known, n=3, cutoff=0.5)
    hint = f" Did you mean {' or '.join(close)}?" if close else f" Releases: {', '.join(project.names)}."
    return ExpungeError(f"Nothing is called {thing!r:.80}. Give {ACCEPTED}.{hint}")


# --- what is known -----------------------------------------------------------------------------------------------


def _request(request: DeletionRequest) -> ServedRequest:
    return ServedRequest(
        request_id=request.request_id,
        digest=request.digest,
        basis=request.basis,
        received_at=request.received_at,
        due=str(request.due),
    )


def _summary(project: Project, name: str) -> Ancestor:
    release = project.release(name)
    return Ancestor(
        release=name,
        requests=tuple(request.request_id for request in release.requests) if release else (),
        model_digest=_model_digest(project, name),
        verdict=_verdict(project.registration(name)),
    )


def _verdict(registration: Registration | None) -> str:
    return registration.verdict if registration else "not registered"


def _model_digest(project: Project, name: str) -> str | None:
    registration = project.registration(name)
    return registration.model_digest if registration else project.sha256(digests.weights(project.paths, name))


def _dvc(project: Project, name: str) -> dict[str, str]:
    where, paths = project.paths.release(name), project.paths
    outputs = [paths.catalog, where.sets, where.model, where.gold, where.embeddings, where.index]
    names = [relative(paths, path) for path in outputs]
    return {path: md5 for path in names if (md5 := project.locks.md5(path))}


def _mlflow(project: Project, name: str) -> RecordedInMlflow | NotInMlflow:
    versions = project.versions_of(name)
    if not versions:
        why = "no run of this release" if project.store else "no record in MLflow yet"
        how = "`expunge repair` records it again" if project.registration(name) else "the stage `register` writes it"
        return NotInMlflow(reason=f"{why}; {how}")
    return RecordedInMlflow(versions=tuple(_version(project, version) for version in versions))


def _version(project: Project, version: ModelVersion) -> RecordedVersion:
    number = str(version.version)
    return RecordedVersion(
        version=f"{version.name}/{number}",
        run_id=version.run_id,
        aliases=tuple(sorted(alias for alias, pointed_at in project.aliases.items() if pointed_at == number)),
        verdict=version.tags.get("verdict"),
        model_digest=version.tags.get("model_digest"),
        release_digest=version.tags.get("release_digest"),
        git_commit=version.tags.get("git_commit"),
        superseded_by=version.tags.get("superseded_by"),
    )
