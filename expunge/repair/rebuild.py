"""Say in a ledger again what it has lost, by what releases, certificates and receipts remember.

After a restore of an older backup, or without any backup: a request that a release serves stays served. A release's
word counts where its certificate is signed and names the same requests and model; of a purged one, its tombstone.
"""

from __future__ import annotations

from collections.abc import Iterator

from expunge.lineage.lineage import Project
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file
from expunge.project.paths import BASE
from expunge.proof.certificate import issue_again
from expunge.proof.signing import read_signed, trusted_key
from expunge.releases.chain import chain, is_purged, load_release
from expunge.releases.registration import Registration, registration_of
from expunge.repair.state import Site
from expunge.requests.events import Record, number_of
from expunge.requests.ledger import Ledger
from expunge.requests.request import DeletionRequest


def rebuild(site: Site, ledger: Ledger, by: str) -> list[str]:
    """Bring `ledger` up to what is remembered here; one sentence for each thing that was done or could not be.

    Doing it again changes nothing.
    """
    notes = list(_adopted(site, ledger, by))
    for name in chain(site.paths):
        if name != BASE:
            notes += _served(site, ledger, name, by)
    notes += _purged(site, ledger, by)
    for name in chain(site.paths) if notes else ():
        if name != BASE and site.paths.release(name).registration.is_file():
            # Certificates name events by number and hash, and those are new.
            issue_again(site.paths, site.params, name)
            _anchor_again(site, name, ledger)
    return notes


def _adopted(site: Site, ledger: Ledger, by: str) -> Iterator[str]:
    frozen = {request.request_id: request for name in chain(site.paths) for request in _requests(site, name)}
    remembered = dict(_receipts(site)) | frozen
    known = {record.request.request_id: record for record in ledger.records()}
    for request_id in sorted(remembered, key=number_of):
        request = remembered[request_id]
        if request_id not in known:
            try:
                ledger.adopt(request, by)
            except ExpungeError as error:
                yield str(error)
                continue
            yield f"{request_id} was received again."
        elif known[request_id].request.digest != request.digest:
            yield f"{request_id} in the ledger is another request than the one that is remembered here; compare them."
            continue
        if request_id in frozen and ledger.get(request_id).state in ("received", "previewed"):
            ledger.approve(request_id, by, request.near_duplicates)
            yield f"{request_id} was approved again, as a release froze it."


def _served(site: Site, ledger: Ledger, name: str, by: str) -> Iterator[str]:
    registration = registration_of(site.paths, name)
    if registration is None or registration.verdict != "passed":
        return
    if not _is_vouched_for(site, name, registration):
        yield f"{name} has no certificate that vouches for its requests; `expunge verify {name}` says more."
        return
    for request in _requests(site, name):
        record = _record(ledger, request)
        if record is None or record.release == name or record.state in ("rejected", "withdrawn"):
            continue
        if record.release is None or _is_before(site, record.release, name):
            ledger.mark_released([request.request_id], name, registration.model_digest, by)
            yield f"{request.request_id} is released with {name} again."


def _purged(site: Site, ledger: Ledger, by: str) -> Iterator[str]:
    names = chain(site.paths)
    for place, name in enumerate(names):
        path = site.paths.release(name).purge
        if not path.is_file() or not read_json(path).get("clean"):
            continue
        for request in (request for earlier in names[: place + 1] for request in _requests(site, earlier)):
            record = _record(ledger, request)
            if record is not None and record.state == "released":
                ledger.mark_purged([request.request_id], name, by, sha256_file(path))
                yield f"{request.request_id} is purged with {name} again."


def _record(ledger: Ledger, request: DeletionRequest) -> Record | None:
    try:
        record = ledger.get(request.request_id)
    except ExpungeError:
        return None
    return record if record.request.digest == request.digest else None


def _requests(site: Site, name: str) -> tuple[DeletionRequest, ...]:
    return () if name == BASE else load_release(site.paths, name).requests


def _receipts(site: Site) -> Iterator[tuple[str, DeletionRequest]]:
    """Requests that the intake has acknowledged; a receipt that a purge has shortened holds none."""
    for path in sorted((site.paths.root / site.params.ledger.drop_folder / "done").glob("*.json")):
        try:
            for entry in read_json(path):
                if "selectors" in entry:
                    request = DeletionRequest.model_validate(entry)
                    yield request.request_id, request
        except (ExpungeError, ValueError, TypeError):
            continue


def _is_vouched_for(site: Site, name: str, registration: Registration) -> bool:
    if is_purged(site.paths, name):
        return True
    try:
        key = trusted_key(site.paths, site.params.certificate)
        said = read_signed(site.paths.release(name).certificate, key)["predicate"]
    except ExpungeError:
        return False
    requests = {request["request_id"]: request["digest"] for request in said["requests"]}
    same = requests == {request.request_id: request.digest for request in _requests(site, name)}
    return same and said["release"] == name and said["model"]["after"] == registration.model_digest


def _is_before(site: Site, earlier: str, name: str) -> bool:
    names = chain(site.paths)
    return earlier in names and names.index(earlier) < names.index(name)


def _anchor_again(site: Site, name: str, ledger: Ledger) -> None:
    project, head = Project(site.paths, site.params), ledger.verify_chain()
    version = project.current_version(name)
    if version is not None:
        client, tag = project.record.client, f"{head.seq}:{head.hash}"
        client.set_model_version_tag(version.name, version.version, "ledger", tag)
        client.set_tag(version.run_id, "ledger", tag)
        client.set_logged_model_tags(version.source.rpartition("/")[2], {"ledger": tag})
