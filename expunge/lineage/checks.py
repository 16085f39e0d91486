"""Digests as they were recorded against digests as they are found.

A digest is checked where it can be: SHA-256 of files against the registration and MLflow, what DVC's stages read
against what its stages wrote.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import unquote, urlparse

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.corpus.catalog import PURGED, listed_shards
from expunge.evaluation.metrics import read_metrics
from expunge.lineage import digests
from expunge.lineage.account import Agreement, Comparison
from expunge.lineage.dvc.locks import LOCK, relative
from expunge.lineage.lineage import Project
from expunge.models.files import WEIGHTS, preprocess_digest
from expunge.project.paths import BASE
from expunge.releases.registration import Registration

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

ABSENT = "absent"
"""What is found in place of something that must be there."""

EMBEDDING_META = b"expunge"
"""As in `expunge.embeddings.store`, which cannot be imported without torch."""


def digest_checks(project: Project, name: str) -> list[Comparison]:
    """Everything recorded about release `name`, its parents and its data, compared with what is there."""
    registration = project.registration(name)
    if registration is None:
        where = relative(project.paths, project.paths.release(name).registration)
        recorded = [compare("registration", where, None, None)]
    else:
        recorded = [
            *_file_checks(project, name, registration),
            *_parent_checks(project, name),
            *_data_checks(project, registration),
            *_description_checks(project, name, registration),
            *_mlflow_checks(project, name, registration),
        ]
    return [*recorded, *_embedding_checks(project, name), *_shard_checks(project), *_lock_checks(project, name)]


def compare(what: str, where: str, recorded: str | None, found: str | None) -> Comparison:
    """One comparison; its `state` is `missing` where one side is not there to be compared."""
    compared: Agreement = "ok" if recorded == found else "mismatch"
    state: Agreement = "missing" if recorded is None or found is None else compared
    return Comparison(what=what, where=where, recorded=recorded, found=found, state=state)


def problem(what: str, where: str, reason: str) -> Comparison:
    """A check that failed for a reason that no two digests express."""
    return Comparison(what=what, where=where, recorded=None, found=reason, state="mismatch")


def _file_checks(project: Project, name: str, registration: Registration) -> list[Comparison]:
    paths, recorded = project.paths, registration.files
    there = {relative(paths, path) for path in digests.release_files(paths, name)}
    there.add(relative(paths, digests.weights(paths, name)))
    checks = []
    for path in sorted(there | set(recorded)):
        found = project.sha256(paths.root / path)
        check = compare("file against registration", path, recorded.get(path), found)
        if path not in recorded and found:
            check = check.model_copy(update={"state": "mismatch"})  # it came after the registration
        checks.append(check)
    if gold := registration.gold_model_digest:
        retrained = paths.release(name).gold / WEIGHTS
        checks.append(compare("retrained model", relative(paths, retrained), gold, project.sha256(retrained)))
    return checks


def _parent_checks(project: Project, name: str) -> list[Comparison]:
    checks = []
    for child, parent in zip([name, *project.ancestors(name)], project.ancestors(name), strict=False):
        path = digests.weights(project.paths, parent)
        registration = project.registration(child)
        recorded = registration.parent_model_digest if registration else None
        where = relative(project.paths, path)
        checks.append(compare(f"model that {child} was made from", where, recorded, project.sha256(path)))
    return checks


def _embedding_checks(project: Project, name: str) -> list[Comparison]:
    """Each shard says by which model, which preprocessing and from which catalog shard it was made."""
    where, paths = project.paths.release(name), project.paths
    shards = {shard["file"]: shard["sha256"] for shard in project.manifest.get("shards", [])}
    checks = []
    for path in sorted(where.embeddings.glob("part-*.parquet")):
        try:
            metadata = json.loads((pq.read_schema(path).metadata or {}).get(EMBEDDING_META, b"{}"))
        except (pa.ArrowException, OSError, ValueError):
            metadata = dict.fromkeys(("model", "preprocessing", "catalog_shard"), "unreadable")
        expected = {
            "model": project.sha256(where.model / WEIGHTS),
            "preprocessing": preprocess_digest(where.model, project.sha256),
            "catalog_shard": shards.get(path.name),
        }
        for key, found in expected.items():
            label = f"{key.replace('_', ' ')} of the embeddings"
            checks.append(compare(label, relative(paths, path), metadata.get(key), found))
    return checks


def _data_checks(project: Project, registration: Registration) -> list[Comparison]:
    catalog = relative(project.paths, project.paths.catalog)
    recorded, locked = registration.data_version, project.locks.md5(catalog) or project.catalog_digest
    purged = project.manifest.get(PURGED, {}).get("data_versions", [])
    return [
        compare("catalog", catalog, registration.catalog_digest, project.catalog_digest),
        compare("data version", LOCK, recorded, recorded if recorded in purged else locked),
    ]


def _shard_checks(project: Project) -> list[Comparison]:
    paths = project.paths
    return [
        compare("catalog shard", relative(paths, shard.path), shard.present_sha256, project.sha256(shard.path))
        for shard in (listed_shards(paths.catalog, project.manifest) if project.manifest else ())
    ]


def _description_checks(project: Project, name: str, registration: Registration) -> list[Comparison]:
    paths, where, release = project.paths, project.paths.release(name), project.release(name)
    checks = []
    if release:
        description = relative(paths, where.description)
        found = digests.description_digest(paths, name)
        checks.append(compare("description", description, registration.description_digest, found))
        recorded = registration.requests
        checks += [
            compare(f"request {request.request_id}", description, recorded.get(request.request_id), request.digest)
            for request in release.requests
        ]
    found = digests.metrics_digest(read_metrics(where.metrics)) if where.metrics.is_file() else None
    checks.append(compare("figures", relative(paths, where.metrics), registration.metrics_digest, found))
    return checks


def _lock_checks(project: Project, name: str) -> list[Comparison]:
    where = project.paths.release(name)
    kept = where.outputs if where.outputs.is_file() else where.folder / LOCK
    lock = LOCK if name == BASE else relative(project.paths, kept)
    if not (project.paths.root / lock).is_file():
        return [compare("DVC stages", lock, None, None)]
    differing = project.locks.disagreements(lock)
    if not differing:
        count = sum(dep.lock == lock and dep.path in project.locks.outs for dep in project.locks.deps)
        what = f"DVC stages: {count} inputs are what earlier stages wrote"
        return [compare(what, lock, "consistent", "consistent")]
    return [compare(f"{dep.path} as read by {dep.stage}", lock, dep.md5, out.md5) for dep, out in differing]


def _mlflow_checks(project: Project, name: str, registration: Registration) -> list[Comparison]:
    version = project.current_version(name)
    if version is None:
        return [compare("MLflow version", project.params.mlflow.registered_model, None, None)]
    label = f"{version.name}/{version.version}"
    checks = [
        compare(f"MLflow tag {tag}", label, version.tags.get(tag), getattr(registration, tag))
        for tag in ("release_digest", "model_digest", "data_version", "verdict")
    ]
    tags = {key: value for key, value in version.tags.items() if key.startswith("request.")}
    checks += [
        compare(f"MLflow tag request.{request_id}", label, tags.get(f"request.{request_id}"), digest)
        for request_id, digest in registration.requests.items()
    ]
    copy = _local_copy(project, version)
    if copy is not None:
        checks.append(compare("weights kept by MLflow", label, registration.model_digest, project.sha256(copy)))
    return checks


def _local_copy(project: Project, version: ModelVersion) -> Path | None:
    """Where MLflow keeps the weights of a version, None where that is not on this machine."""
    if project.store is None:
        return None
    uri = project.store.client.get_model_version_download_uri(version.name, version.version)
    parts = urlparse(uri)
    return Path(unquote(parts.path)) / WEIGHTS if parts.scheme in ("", "file") else None
