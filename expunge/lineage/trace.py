"""The whole chain of one release, from any of its ends, with every digest checked against what lies on disk.

request ↔ release ↔ parents up to `base` ↔ model ↔ embeddings and index ↔ data version ↔ MLflow run and versions

A request id, a release, a model digest and a model version are four names for one thing, so all four give the same
answer.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from typing import Any

from expunge.lineage import digests
from expunge.lineage.checks import digest_checks
from expunge.lineage.digests import WEIGHTS
from expunge.lineage.dvc.locks import relative
from expunge.lineage.lineage import Project
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.settings import Params

DIGEST = re.compile(r"(?:sha256:)?([0-9a-f]{8,64})")
ACCEPTED = (
    "a request id (req-0001), a release (r001), a model digest or its first 8 or more characters, or a model version "
    "(clip/3, v3, clip@candidate)"
)


def trace(paths: Paths, params: Params, thing: str) -> dict[str, Any]:
    """The chain of the release that `thing` belongs to, as JSON-serialisable values; `intact` sums up the checks.

    Raises:
        ExpungeError: nothing is called that, or several releases are.
    """
    project = Project(paths, params)
    name = _find(project, thing.strip())
    checks = digest_checks(project, name)
    registration = project.registration(name) or {}
    release = project.release(name)
    return {
        "release": name,
        "parent": release.parent if release else None,
        "ancestors": [_summary(project, ancestor) for ancestor in project.ancestors(name)],
        "children": [other for other in project.names if project.parent(other) == name],
        "requests": [_request(request) for request in release.requests] if release else [],
        "method": release.method.name if release else None,
        "verdict": registration.get("verdict", "not registered"),
        "release_digest": registration.get("release_digest"),
        "model_digest": registration.get("model_digest") or project.sha256(digests.weights(paths, name)),
        "data": {
            "version": registration.get("data_version") or project.locks.md5(relative(paths, paths.catalog)),
            "catalog_digest": registration.get("catalog_digest") or project.catalog_digest,
        },
        "dvc": _dvc(project, name),
        "mlflow": _mlflow(project, name),
        "checks": checks,
        "intact": all(check["state"] != "mismatch" for check in checks),
    }


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
        registration = project.registration(name) or {}
        yield registration.get("model_digest")
        yield registration.get("release_digest")
        for version in project.versions_of(name):
            yield version.tags.get("model_digest")
            yield version.tags.get("release_digest")
            yield version.run_id

    def matching(digests_of: Any) -> list[str]:
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


def _request(request: Any) -> dict[str, str]:
    return {
        "request_id": request.request_id,
        "digest": request.digest,
        "basis": request.basis,
        "received_at": request.received_at,
        "due": str(request.due),
    }


def _summary(project: Project, name: str) -> dict[str, Any]:
    release, registration = project.release(name), project.registration(name) or {}
    return {
        "release": name,
        "requests": [request.request_id for request in release.requests] if release else [],
        "model_digest": registration.get("model_digest") or project.sha256(digests.weights(project.paths, name)),
        "verdict": registration.get("verdict", "not registered"),
    }


def _dvc(project: Project, name: str) -> dict[str, str | None]:
    where, paths = project.paths.release(name), project.paths
    outputs = [paths.catalog, where.sets, where.model, where.gold, where.embeddings, where.index]
    names = [relative(paths, path) for path in outputs]
    return {path: md5 for path in names if (md5 := project.locks.md5(path))}


def _mlflow(project: Project, name: str) -> dict[str, Any]:
    versions = project.versions_of(name)
    if not versions:
        why = "no run of this release" if project.store else "no record in MLflow yet"
        return {"recorded": False, "reason": f"{why}; the stage `register` writes it"}
    return {
        "recorded": True,
        "versions": [
            {
                "version": f"{version.name}/{version.version}",
                "run_id": version.run_id,
                "aliases": sorted(alias for alias, number in project.aliases.items() if number == str(version.version)),
                "verdict": version.tags.get("verdict"),
                "model_digest": version.tags.get("model_digest"),
                "release_digest": version.tags.get("release_digest"),
                "git_commit": version.tags.get("git_commit"),
                "superseded_by": version.tags.get("superseded_by"),
            }
            for version in versions
        ],
    }
