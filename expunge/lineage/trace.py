"""The whole chain of one release, from any of its ends, with every digest checked against what lies on disk.

request ↔ release ↔ parents up to `base` ↔ model ↔ embeddings and index ↔ data version ↔ MLflow run and versions

A request id, a release, a model digest and a model version are four names for one thing, so all four give the same
answer. A digest is checked where it can be: SHA-256 of files against the registration and MLflow, what DVC's stages
read against what its stages wrote.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Iterable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.catalog import MANIFEST, PURGED, listed_shards
from expunge.config import Params
from expunge.errors import ExpungeError
from expunge.files import read_json
from expunge.lineage import digests
from expunge.lineage.digests import CONFIG, WEIGHTS, registration_of
from expunge.lineage.dvc import LOCK, Locks, read_locks, relative
from expunge.lineage.mlflow import Store, existing_store
from expunge.paths import BASE, Paths
from expunge.releases import Release, chain, load_release

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

Check = dict[str, str | None]
State = Literal["ok", "mismatch", "missing"]

EMBEDDING_META = b"expunge"
"""As in `expunge.embedding`, which cannot be imported without torch."""
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
    project = _Project(paths, params)
    name = _find(project, thing.strip())
    checks = _checks(project, name)
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


class _Project:
    """What a trace reads, each thing once."""

    def __init__(self, paths: Paths, params: Params) -> None:
        self.paths = paths
        self.params = params
        self.names = chain(paths)
        self._hashed: dict[Path, str | None] = {}

    def release(self, name: str) -> Release | None:
        return None if name == BASE else self._releases[name]

    def parent(self, name: str) -> str | None:
        release = self.release(name)
        return release.parent if release else None

    def ancestors(self, name: str) -> list[str]:
        """From the parent up to `base`."""
        return self.names[: self.names.index(name)][::-1]

    def registration(self, name: str) -> dict[str, Any] | None:
        return self._registrations[name]

    def sha256(self, path: Path) -> str | None:
        if path not in self._hashed:
            self._hashed[path] = digests.sha256_if_there(path)
        return self._hashed[path]

    @cached_property
    def _releases(self) -> dict[str, Release]:
        return {name: load_release(self.paths, name) for name in self.names if name != BASE}

    @cached_property
    def _registrations(self) -> dict[str, dict[str, Any] | None]:
        return {name: registration_of(self.paths, name) for name in self.names}

    @cached_property
    def catalog_digest(self) -> str | None:
        return digests.catalog_digest(self.paths)

    @cached_property
    def locks(self) -> Locks:
        return read_locks(self.paths)

    @cached_property
    def store(self) -> Store | None:
        return existing_store(self.paths, self.params.mlflow)

    @cached_property
    def versions(self) -> list[ModelVersion]:
        return self.store.versions() if self.store else []

    @cached_property
    def aliases(self) -> dict[str, str]:
        return self.store.aliases() if self.store else {}

    def versions_of(self, name: str) -> list[ModelVersion]:
        return [version for version in self.versions if version.tags.get("release") == name]


# --- what is meant -----------------------------------------------------------------------------------------------


def _find(project: _Project, thing: str) -> str:
    served = {request.request_id: name for name, release in project._releases.items() for request in release.requests}
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


def _version_number(project: _Project, thing: str) -> str | None:
    model = re.escape(project.params.mlflow.registered_model)
    if named := re.fullmatch(rf"(?:models:/)?{model}@(\S+)", thing):
        if named[1] not in project.aliases:
            known = ", ".join(sorted(project.aliases)) or "none"
            raise ExpungeError(f"No model version has the alias {named[1]}; aliases in use: {known}.")
        return project.aliases[named[1]]
    numbered = re.fullmatch(rf"(?:(?:models:/)?{model}/)?v?(\d{{1,7}})", thing)
    return str(int(numbered[1])) if numbered else None


def _release_of_version(project: _Project, number: str) -> str:
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


def _release_of_digest(project: _Project, prefix: str) -> str:
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


def _explain_unserved_request(project: _Project, thing: str) -> None:
    if not re.fullmatch(r"req-\d{4,}", thing):
        return
    from expunge.ledger import Ledger

    try:
        state = Ledger.open(project.params.ledger, project.paths.root).get(thing).state
    except ExpungeError:
        return
    raise ExpungeError(f"Request {thing} is {state}, and no release serves it yet; see `expunge request show {thing}`.")


def _unknown(project: _Project, thing: str, served: dict[str, str]) -> ExpungeError:
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


def _summary(project: _Project, name: str) -> dict[str, Any]:
    release, registration = project.release(name), project.registration(name) or {}
    return {
        "release": name,
        "requests": [request.request_id for request in release.requests] if release else [],
        "model_digest": registration.get("model_digest") or project.sha256(digests.weights(project.paths, name)),
        "verdict": registration.get("verdict", "not registered"),
    }


def _dvc(project: _Project, name: str) -> dict[str, str | None]:
    where, paths = project.paths.release(name), project.paths
    outputs = [paths.catalog, where.sets, where.model, where.gold, where.embeddings, where.index]
    names = [relative(paths, path) for path in outputs]
    return {path: md5 for path in names if (md5 := project.locks.md5(path))}


def _mlflow(project: _Project, name: str) -> dict[str, Any]:
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


# --- whether it is so --------------------------------------------------------------------------------------------


def _checks(project: _Project, name: str) -> list[Check]:
    registration = project.registration(name)
    if registration is None:
        where = relative(project.paths, project.paths.release(name).registration)
        recorded = [_check("registration", where, None, None)]
    else:
        recorded = [
            *_file_checks(project, name, registration),
            *_parent_checks(project, name),
            *_data_checks(project, registration),
            *_description_checks(project, name, registration),
            *_mlflow_checks(project, name, registration),
        ]
    return [*recorded, *_embedding_checks(project, name), *_shard_checks(project), *_lock_checks(project, name)]


def _check(what: str, where: str, recorded: str | None, found: str | None) -> Check:
    compared: State = "ok" if recorded == found else "mismatch"
    state = "missing" if recorded is None or found is None else compared
    return {"what": what, "where": where, "recorded": recorded, "found": found, "state": state}


def _file_checks(project: _Project, name: str, registration: dict[str, Any]) -> list[Check]:
    paths, recorded = project.paths, registration["files"]
    there = {relative(paths, path) for path in digests.release_files(paths, name)}
    there.add(relative(paths, digests.weights(paths, name)))
    checks = []
    for path in sorted(there | set(recorded)):
        found = project.sha256(paths.root / path)
        check = _check("file against registration", path, recorded.get(path), found)
        if path not in recorded and found:
            check["state"] = "mismatch"  # it came after the registration
        checks.append(check)
    if gold := registration["gold_model_digest"]:
        path = paths.release(name).gold / WEIGHTS
        checks.append(_check("retrained model", relative(paths, path), gold, project.sha256(path)))
    return checks


def _parent_checks(project: _Project, name: str) -> list[Check]:
    checks = []
    for child, parent in zip([name, *project.ancestors(name)], project.ancestors(name), strict=False):
        path = digests.weights(project.paths, parent)
        recorded = (project.registration(child) or {}).get("parent_model_digest")
        where = relative(project.paths, path)
        checks.append(_check(f"model that {child} was made from", where, recorded, project.sha256(path)))
    return checks


def _embedding_checks(project: _Project, name: str) -> list[Check]:
    """Each shard says by which model, which preprocessing and from which catalog shard it was made."""
    where, paths = project.paths.release(name), project.paths
    shards = {shard["file"]: shard["sha256"] for shard in _manifest(project).get("shards", [])}
    checks = []
    for path in sorted(where.embeddings.glob("part-*.parquet")):
        try:
            metadata = json.loads((pq.read_schema(path).metadata or {}).get(EMBEDDING_META, b"{}"))
        except (pa.ArrowException, OSError, ValueError):
            metadata = dict.fromkeys(("model", "preprocessing", "catalog_shard"), "unreadable")
        expected = {
            "model": project.sha256(where.model / WEIGHTS),
            "preprocessing": project.sha256(where.model / CONFIG),
            "catalog_shard": shards.get(path.name),
        }
        for key, found in expected.items():
            label = f"{key.replace('_', ' ')} of the embeddings"
            checks.append(_check(label, relative(paths, path), metadata.get(key), found))
    return checks


def _data_checks(project: _Project, registration: dict[str, Any]) -> list[Check]:
    catalog = relative(project.paths, project.paths.catalog)
    locked = project.locks.md5(catalog) or project.catalog_digest
    purged = _manifest(project).get(PURGED, {}).get("data_versions", [])
    recorded = registration["data_version"]
    return [
        _check("catalog", catalog, registration["catalog_digest"], project.catalog_digest),
        _check("data version", LOCK, recorded, recorded if recorded in purged else locked),
    ]


def _shard_checks(project: _Project) -> list[Check]:
    paths = project.paths
    manifest = _manifest(project)
    return [
        _check("catalog shard", relative(paths, shard.path), shard.present_sha256, project.sha256(shard.path))
        for shard in (listed_shards(paths.catalog, manifest) if manifest else [])
    ]


def _manifest(project: _Project) -> dict[str, Any]:
    path = project.paths.catalog / MANIFEST
    return read_json(path) if path.is_file() else {}


def _description_checks(project: _Project, name: str, registration: dict[str, Any]) -> list[Check]:
    paths, where, release = project.paths, project.paths.release(name), project.release(name)
    checks = []
    if release:
        description = relative(paths, where.description)
        found = digests.description_digest(paths, name)
        checks.append(_check("description", description, registration["description_digest"], found))
        recorded = registration["requests"]
        checks += [
            _check(f"request {request.request_id}", description, recorded.get(request.request_id), request.digest)
            for request in release.requests
        ]
    found = digests.metrics_digest(read_json(where.metrics)) if where.metrics.is_file() else None
    checks.append(_check("figures", relative(paths, where.metrics), registration["metrics_digest"], found))
    return checks


def _lock_checks(project: _Project, name: str) -> list[Check]:
    where = project.paths.release(name)
    kept = where.outputs if where.outputs.is_file() else where.folder / LOCK
    lock = LOCK if name == BASE else relative(project.paths, kept)
    if not (project.paths.root / lock).is_file():
        return [_check("DVC stages", lock, None, None)]
    differing = project.locks.disagreements(lock)
    if not differing:
        count = sum(dep.lock == lock and dep.path in project.locks.outs for dep in project.locks.deps)
        what = f"DVC stages: {count} inputs are what earlier stages wrote"
        return [_check(what, lock, "consistent", "consistent")]
    return [_check(f"{dep.path} as read by {dep.stage}", lock, dep.md5, out.md5) for dep, out in differing]


def _mlflow_checks(project: _Project, name: str, registration: dict[str, Any]) -> list[Check]:
    current = [version for version in project.versions_of(name) if not version.tags.get("superseded_by")]
    if not current:
        return [_check("MLflow version", project.params.mlflow.registered_model, None, None)]
    version = current[-1]
    label = f"{version.name}/{version.version}"
    checks = [
        _check(f"MLflow tag {tag}", label, version.tags.get(tag), registration.get(tag))
        for tag in ("release_digest", "model_digest", "data_version", "verdict")
    ]
    tags = {key: value for key, value in version.tags.items() if key.startswith("request.")}
    checks += [
        _check(f"MLflow tag request.{request_id}", label, tags.get(f"request.{request_id}"), digest)
        for request_id, digest in registration["requests"].items()
    ]
    copy = _local_copy(project, version)
    if copy is not None:
        checks.append(_check("weights kept by MLflow", label, registration["model_digest"], project.sha256(copy)))
    return checks


def _local_copy(project: _Project, version: ModelVersion) -> Path | None:
    """Where MLflow keeps the weights of a version, None where that is not on this machine."""
    uri = project.store.client.get_model_version_download_uri(version.name, version.version)
    parts = urlparse(uri)
    return Path(unquote(parts.path)) / WEIGHTS if parts.scheme in ("", "file") else None
