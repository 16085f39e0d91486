"""Whether a certificate is true of what lies here: signatures, every file, the ledger, and what a purge found.

A check names a place. What the certificate vouches for must be there and be the same, byte by byte; what a release was
made from may have been purged since, and is then reported as missing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from expunge.corpus.catalog import MANIFEST, PURGED
from expunge.lineage import digests
from expunge.lineage.account import Comparison
from expunge.lineage.checks import ABSENT, compare, digest_checks, problem
from expunge.lineage.dvc.locks import relative
from expunge.lineage.lineage import Project
from expunge.project.errors import ExpungeError
from expunge.project.files import sha256_file
from expunge.project.paths import BASE, Paths
from expunge.project.progress import progress
from expunge.proof.events import ledger_checks
from expunge.proof.purged import NOT_PURGED, purge_state
from expunge.proof.recorded import record_checks
from expunge.proof.signing import read_signed, trusted_key
from expunge.releases.release import check_name
from expunge.report.certificate import render
from expunge.requests.ledger import Ledger
from expunge.settings import Params

SAME, OTHER = "as the certificate says", "something else"


@dataclass(frozen=True)
class Verification:
    """The outcome for one release.

    Attributes:
        key: id of the public key that the certificate was checked with.
        statement: what the certificate says; None where its signature does not hold.
    """

    release: str
    key: str
    statement: dict[str, Any] | None
    checks: tuple[Comparison, ...]

    @property
    def problems(self) -> list[Comparison]:
        """The checks that failed; the certificate is true if there is none."""
        return [check for check in self.checks if check.state == "mismatch"]


def verify(paths: Paths, params: Params, name: str, key_file: Path | None = None) -> Verification:
    """Check the certificate of release `name` against everything that it speaks of.

    Args:
        key_file: the public key to trust, instead of the one in params.yaml.

    Raises:
        ExpungeError: there is no such release, no certificate of it, or no public key.
    """
    _check_certified(paths, name)
    key = trusted_key(paths, params.certificate, key_file)
    project = Project(paths, params)
    statement, checks = _opened(paths, paths.release(name).certificate, key)
    if statement:
        predicate = statement["predicate"]
        _hash_all(project, name, [*_named(statement["subject"]), *_named(predicate["made_from"])])
        files = [*_subject_checks(project, statement), *_source_checks(project, predicate)]
        files += _strangers(project, name, statement)
        checks += files
        checks += _identity_checks(project, name, predicate)
        checks += _request_checks(project, name, predicate, key)
        checks += ledger_checks(params.ledger, paths.root, predicate)
        checks += _purge_checks(project, name, predicate)
        # A damaged file can break what reads it, and is named already.
        if all(check.state != "mismatch" for check in files):
            checks += _recorded_elsewhere(project, name, predicate)
    return Verification(name, key.keyid, statement, tuple(checks))


def record_verified(paths: Paths, params: Params, name: str, by: str) -> list[str]:
    """Note in the ledger that `by` verified release `name`, for all requests that its purge served; return their ids.

    Raises:
        ExpungeError: nobody is named, or no request waits for it: only what was purged can be verified.
    """
    if not by.strip():
        raise ExpungeError("A verification is recorded in somebody's name; give it with --by.")
    ledger = Ledger.open(params.ledger, paths.root)
    ids = [
        record.request.request_id
        for record in ledger.records()
        if record.state in ("purged", "verified")
        and any(event.kind == "purged" and event.payload["release"] == name for event in record.events)
    ]
    if not ids:
        raise ExpungeError(f"No request waits to be verified; run `expunge purge {name}` first.")
    ledger.mark_verified(ids, name, by.strip(), sha256_file(paths.release(name).certificate))
    return ids


def _check_certified(paths: Paths, name: str) -> None:
    try:
        if name != BASE:
            check_name(name)
    except ValueError as error:
        raise ExpungeError(f"There is no such release: {error}.") from None
    path = paths.release(name).certificate
    if not path.is_file():
        raise ExpungeError(f"{path} is missing; `dvc repro` writes it with the release.")


def _opened(paths: Paths, path: Path, key: Any) -> tuple[dict[str, Any] | None, list[Comparison]]:
    """The statement of a certificate, and whether its signature and its page are right."""
    where, page = relative(paths, path), path.with_suffix(".md")
    try:
        statement = read_signed(path, key)
    except ExpungeError as error:
        return None, [problem("signature", where, str(error))]
    text = page.read_bytes() if page.is_file() else b""
    return statement, [
        compare("signature", where, key.keyid, key.keyid),
        _same("page of the certificate", relative(paths, page), text == render(statement).encode()),
    ]


def _identity_checks(project: Project, name: str, predicate: Mapping[str, Any]) -> list[Comparison]:
    """A certificate of another release, put in this one's place, is as true as ever and proves nothing here."""
    where = relative(project.paths, project.paths.release(name).certificate)
    return [_same("release of the certificate", where, predicate["release"] == name)]


def _subject_checks(project: Project, statement: Mapping[str, Any]) -> list[Comparison]:
    return [
        compare("file against certificate", path, digest, _sha256(project, path) or ABSENT)
        for path, digest in _named(statement["subject"]).items()
    ]


def _source_checks(project: Project, predicate: Mapping[str, Any]) -> list[Comparison]:
    # A certificate that was issued after its purge knows the shards as they are now.
    checks, rewritten = [], _rewritten(project) if predicate["purge"] == NOT_PURGED else set()
    for path, digest in _named(predicate["made_from"]).items():
        found = _sha256(project, path)
        checks.append(compare("made from", path, digest, None if found != digest and path in rewritten else found))
    return checks


def _rewritten(project: Project) -> set[str]:
    """Files of the catalog that a purge has rewritten: what they were is as gone as what it removed."""
    try:
        purged, paths = project.manifest.get(PURGED), project.paths
    except ExpungeError:
        return set()
    return {relative(paths, paths.catalog / name) for name in (MANIFEST, *purged["shards"])} if purged else set()


def _strangers(project: Project, name: str, statement: Mapping[str, Any]) -> list[Comparison]:
    known = _named(statement["subject"])
    found = [relative(project.paths, path) for path in digests.everything_in(project.paths, name)]
    reason = "it is not part of the certified release"
    return [problem("file against certificate", path, reason) for path in found if path not in known]


def _request_checks(project: Project, name: str, predicate: Mapping[str, Any], key: Any) -> list[Comparison]:
    folder, checks, expected = project.paths.release(name).request_certificates, [], set()
    for request in predicate["requests"]:
        path = folder / f"{request['request_id']}.json"
        expected |= {path, path.with_suffix(".md")}
        statement, found = _opened(project.paths, path, key)
        checks += found
        if statement:
            checks += _subject_checks(project, statement)
            same = statement["predicate"]["request"] == request
            checks.append(_same("request of the certificate", relative(project.paths, path), same))
    strangers = [path for path in sorted(folder.glob("*")) if path not in expected]
    return checks + [
        problem("certificate", relative(project.paths, path), "the release serves no such request")
        for path in strangers
    ]


def _purge_checks(project: Project, name: str, predicate: Mapping[str, Any]) -> list[Comparison]:
    path, certified = project.paths.release(name).purge, predicate["purge"]
    where, found = relative(project.paths, path), project.sha256(path)
    if certified == NOT_PURGED and found is None:
        return []
    # A purge after the certificate does not make it false; issuing the certificate again takes the purge in.
    checks = [compare("proof of the purge", where, certified.get("sha256"), found)]
    try:
        now = purge_state(project.paths, name)
    except ExpungeError as error:
        return [*checks, problem("search of the purge", where, str(error))]
    if not now.get("clean", True):
        traces = f"traces of forgotten content in {now['findings']} places, and {now['unread']} unreadable files"
        checks.append(problem("search of the purge", where, traces))
    return checks


def _recorded_elsewhere(project: Project, name: str, predicate: Mapping[str, Any]) -> list[Comparison]:
    """What registration, MLflow, DVC's locks and the embeddings say of each other, as `expunge trace` checks it."""
    try:
        return [*digest_checks(project, name), *record_checks(project, name, predicate)]
    except ExpungeError as error:
        return [problem("records of the release", name, str(error))]


def _hash_all(project: Project, name: str, files: Sequence[str]) -> None:
    """Read every file once, which is what takes time; the checks ask for the digests again."""
    with progress(f"verify {name}") as report:
        for number, path in enumerate(files, 1):
            _sha256(project, path)
            report(number, len(files))


def _sha256(project: Project, path: str) -> str | None:
    """Digest of a file that a certificate names; a path that leads out of the project is not one of its files."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts:
        return None
    return project.sha256(project.paths.root / path)


def _same(what: str, where: str, holds: bool) -> Comparison:
    return compare(what, where, SAME, SAME if holds else OTHER)


def _named(resources: list[dict[str, Any]]) -> dict[str, str]:
    return {resource["name"]: resource["digest"]["sha256"] for resource in resources}
