"""The certificate: what was forgotten, from what, by what, with which figures, and what it does not cover.

One signed statement a release and one for each request that it serves. Both hold ids, counts, digests and figures;
never a selector's content, a note or a caption. The same release, ledger and key give the same files.
"""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import Any

from expunge.corpus.catalog import MANIFEST
from expunge.evaluation.metrics import Metrics, ReleaseMetrics, read_metrics
from expunge.lineage import digests
from expunge.lineage.dvc.locks import relative
from expunge.lineage.dvc.rebase import keep_also
from expunge.lineage.git import git_commit
from expunge.project.columns import read_table, strings
from expunge.project.documents import content_of
from expunge.project.errors import ExpungeError
from expunge.project.files import canonical_json, json_bytes, read_json, sha256_bytes, sha256_file, write_bytes
from expunge.project.paths import BASE, Paths
from expunge.proof import coverage
from expunge.proof.events import certified_events
from expunge.proof.predicate import ReleaseStatement, RequestStatement
from expunge.proof.purged import purge_state
from expunge.proof.signing import read_signed, sign, signing_key, trusted_key
from expunge.releases.chain import load_release
from expunge.releases.registration import Registration, registered, registration_of
from expunge.releases.release import Release
from expunge.report.certificate import render
from expunge.requests.ledger import Ledger
from expunge.settings import Params

STATEMENT = "https://in-toto.io/Statement/v1"
ABOUT_RELEASE = "urn:expunge:certificate:v1"
ABOUT_REQUEST = "urn:expunge:request-certificate:v1"
FIGURES = ("diagnosis", "gate", "attempts", "model", "models", "expected_similarity")
"""The parts of metrics.json that a certificate repeats: verdicts and measurements, but no costs."""

LIMITS = (
    "It covers this project's folders. Backups, exports, remote storage that was not purged, and copies that others "
    "downloaded are out of its reach.",
    "The figures compare the model with one that never saw the data; they are measurements, no mathematical guarantee.",
    "A signature says who vouches for a statement. Whether the statement is true is for `expunge verify` to check: "
    "the digests on the files themselves, and with --replay the unlearning.",
)
DEMO_LIMIT = "It was signed in demo mode, with a key made on first use and kept beside the data: it proves no identity."
ESTIMATE_LIMIT = "No model was retrained without the data; the figures are compared with an estimate."


def issue(paths: Paths, params: Params, registration: Registration, record: dict[str, str] | None = None) -> None:
    """Write the certificates of the release that `registration` (the content of registration.json) describes.

    Args:
        record: digests of what MLflow was told; those of the earlier certificate by default.

    Raises:
        ExpungeError: there is no signing key, or a file of the release is missing.
    """
    key = signing_key(paths, params.certificate)
    name = registration.release
    where = paths.release(name)
    issuer = {"mode": params.certificate.mode, "key": key.public_key.keyid}
    statement = _release_statement(paths, params, registration, issuer, record)
    requests = statement["predicate"]["requests"]
    envelope = sign(statement, key)
    expected = set()
    for request in requests:
        about = _request_statement(paths, statement, request, sha256_bytes(envelope))
        page = where.request_certificates / f"{request['request_id']}.md"
        write_bytes(page.with_suffix(".json"), sign(about, key))
        write_bytes(page, render(about).encode())
        expected |= {page.name, page.with_suffix(".json").name}
    for stale in where.request_certificates.glob("*"):
        if stale.name not in expected:
            stale.unlink()
    write_bytes(where.certificate_page, render(statement).encode())
    write_bytes(where.certificate, envelope)


def issue_again(paths: Paths, params: Params, name: str) -> None:
    """Sign the certificates of a registered release anew: after a purge, or with another key.

    Raises:
        ExpungeError: the release was never registered, or as `issue` does.
    """
    where = paths.release(name)
    issue(paths, params, registered(paths, name))
    if where.outputs.is_file():
        keep_also(paths, name, relative(paths, where.certificate))


def _release_statement(
    paths: Paths,
    params: Params,
    registration: Registration,
    issuer: dict[str, str],
    record: dict[str, str] | None,
) -> dict[str, Any]:
    name = registration.release
    where, description = paths.release(name), None if name == BASE else load_release(paths, name)
    metrics = read_metrics(where.metrics)
    content = content_of(metrics)
    subject = [_resource(paths, path) for path in digests.certified_files(paths, name)]
    subject.append(_named(paths, where.registration, sha256_bytes(json_bytes(content_of(registration)))))
    sources = digests.source_files(paths, name, registration.parent)
    requests: list[dict[str, Any]] = []
    if description and isinstance(metrics, ReleaseMetrics):
        requests = _requests(paths, params, description, metrics)
    earlier = _earlier(paths, params, registration)
    return _statement(
        subject,
        ABOUT_RELEASE,
        {
            "release": name,
            "parent": registration.parent,
            "release_digest": registration.release_digest,
            "issuer": issuer,
            "verdict": registration.verdict,
            "requests": requests,
            "ledger": coverage.anchor(requests),
            "samples": _samples(paths, name, description),
            "model": {
                "before": registration.parent_model_digest,
                "after": registration.model_digest,
                "retrained": registration.gold_model_digest,
            },
            "data": {"before": _data_before(paths, registration.parent), "after": _data(registration)},
            "method": _method(paths, params, description),
            # The checkout may have moved on since the release was made.
            "code": earlier["code"] if earlier else git_commit(paths.root),
            "limits_of_the_gate": coverage.limits(params),
            "figures": {key: content[key] for key in FIGURES if key in content},
            "record": record or earlier.get("record"),
            "made_from": [_resource(paths, path) for path in sources],
            "pipeline": coverage.pipeline(paths),
            "not_covered": list(coverage.NOT_COVERED),
            "purge": purge_state(paths, name),
            "limits": _limits(issuer["mode"], metrics),
        },
    )


def _request_statement(
    paths: Paths, statement: dict[str, Any], request: dict[str, Any], certificate: str
) -> dict[str, Any]:
    """What the person behind one request gets: their request's part, tied to the release's certificate."""
    whole = statement["predicate"]
    name = whole["release"]
    subject = [
        _named(paths, digests.weights(paths, name), whole["model"]["after"]),
        _named(paths, paths.release(name).certificate, certificate),
    ]
    kept = (
        "release",
        "parent",
        "issuer",
        "verdict",
        "model",
        "data",
        "method",
        "code",
        "purge",
        "limits",
        "limits_of_the_gate",
    )
    verdict = {key: whole["figures"][key] for key in ("diagnosis", "gate")}
    about = {key: whole[key] for key in kept} | {"request": request, "figures": verdict}
    return _statement(subject, ABOUT_REQUEST, about)


def _statement(subject: list[dict[str, Any]], kind: str, predicate: dict[str, Any]) -> dict[str, Any]:
    """As a reader will have it: the page shows keys in the order in which they are signed."""
    whole = {"_type": STATEMENT, "subject": subject, "predicateType": kind, "predicate": predicate}
    model = ReleaseStatement if kind == ABOUT_RELEASE else RequestStatement
    return json.loads(canonical_json(content_of(model.model_validate(whole))))


def _resource(paths: Paths, path: Path) -> dict[str, Any]:
    return _named(paths, path, sha256_file(path))


def _named(paths: Paths, path: Path, sha256: str) -> dict[str, Any]:
    return {"name": relative(paths, path), "digest": {"sha256": sha256}}


def _requests(paths: Paths, params: Params, description: Release, metrics: ReleaseMetrics) -> list[dict[str, Any]]:
    records = {record.request.request_id: record for record in Ledger.open(params.ledger, paths.root).records()}
    figures = content_of(metrics)["per_request"]
    caught = Counter(_forget_column(paths, description.release, "request_id", own=True))
    return [
        {
            "request_id": request.request_id,
            "digest": request.digest,
            "basis": request.basis,
            "received_at": request.received_at,
            "due": str(request.due),
            "selectors": [_selector(selector) for selector in request.selectors],
            "samples": caught[request.request_id],
            "figures": figures.get(request.request_id),
            "events": certified_events(records.get(request.request_id), description.release),
        }
        for request in description.requests
    ]


def _selector(selector: Any) -> dict[str, Any]:
    """What kind of rule it is; its content may describe what was forgotten, and is in the request's digest."""
    return {"kind": selector.kind} | ({"count": len(selector.ids)} if selector.kind == "id" else {})


def _samples(paths: Paths, name: str, description: Release | None) -> dict[str, int]:
    catalog = read_json(paths.catalog / MANIFEST)["samples"]
    own = len(set(_forget_column(paths, name, "sample_id", own=True))) if description else 0
    every = len(set(_forget_column(paths, name, "sample_id"))) if description else 0
    return {"catalog": catalog, "forgotten": own, "forgotten_before": every - own}


def _forget_column(paths: Paths, name: str, column: str, own: bool = False) -> list[str]:
    table = read_table(paths.release(name).forget, [column, "release"])
    rows = zip(strings(table[column]), strings(table["release"]), strict=True)
    return [value for value, release in rows if release == name or not own]


def _data_before(paths: Paths, parent: str | None) -> dict[str, str | None] | None:
    registration = registration_of(paths, parent) if parent else None
    return _data(registration) if registration else None


def _data(registration: Registration) -> dict[str, str | None]:
    return {"data_version": registration.data_version, "catalog_digest": registration.catalog_digest}


def _method(paths: Paths, params: Params, description: Release | None) -> dict[str, Any]:
    """All that decides the weights beside data and code; `expunge verify --replay` compares it with today's."""
    recipe = params.model_dump(mode="json", include={"seed", "compute"})
    where = paths.release(description.release if description else BASE)
    record = where.unlearning if description else where.training
    run = read_json(record) if description or record.is_file() else {}
    if params.compute.precision == "auto":
        recipe["compute"]["precision"] = run["precision"]  # as it was settled
    if description is None:
        return {"name": "training", "parameters": params.train.model_dump(mode="json"), **recipe}
    return {"name": run["method"], "parameters": run["parameters"], **recipe}


def _earlier(paths: Paths, params: Params, registration: Registration) -> dict[str, Any]:
    """What the certificate says that this one replaces; empty where it is of other content or there is none."""
    where = paths.release(registration.release).certificate
    try:
        earlier = read_signed(where, trusted_key(paths, params.certificate))["predicate"]
    except ExpungeError:
        return {}
    return earlier if earlier["release_digest"] == registration.release_digest else {}


def _limits(mode: str, metrics: Metrics) -> list[str]:
    estimated = isinstance(metrics, ReleaseMetrics) and metrics.gate.reference == "estimate"
    return [*LIMITS, *([ESTIMATE_LIMIT] if estimated else []), *([DEMO_LIMIT] if mode == "demo" else [])]
