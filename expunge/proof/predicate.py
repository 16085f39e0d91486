"""The schema of what is signed: an in-toto Statement v1 about a release, and one about each request that it serves.

Ids, counts, digests and figures; never a selector's content, a note or a caption.
"""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field

from expunge.evaluation.metrics import (
    Attempt,
    BaseFigures,
    ComparedModels,
    Diagnosis,
    GateResult,
    RequestFigures,
)
from expunge.project.schema import Block
from expunge.releases.registration import Verdict


class Sha256(Block):
    """A digest as in-toto writes it."""

    sha256: str


class Resource(Block):
    """A file by its path relative to the root, and its digest."""

    name: str
    digest: Sha256


class Issuer(Block):
    """Who signed: the mode of params.yaml and the id of the public key."""

    mode: str
    key: str


class CertifiedEvent(Block):
    """An event of the ledger by its hash."""

    seq: int
    kind: str
    at: str
    hash: str


class SelectorKind(Block):
    """What kind of rule a selector is; `count` is there for a list of ids."""

    kind: str
    count: int | None = None


class CertifiedRequest(Block):
    """One request: `samples` is how many it selects, `figures` its part of metrics.json."""

    request_id: str
    digest: str
    basis: str
    received_at: str
    due: str
    selectors: tuple[SelectorKind, ...]
    samples: int
    figures: RequestFigures | None
    events: tuple[CertifiedEvent, ...]


class SampleCounts(Block):
    """Samples in the catalog, forgotten by this release, and forgotten by earlier ones."""

    catalog: int
    forgotten: int
    forgotten_before: int


class ModelDigests(Block):
    """SHA-256 of the weights of the parent, of the release and of the gold standard."""

    before: str | None
    after: str
    retrained: str | None


class CertifiedData(Block):
    """A version of the catalog, by DVC and by its manifest."""

    data_version: str | None
    catalog_digest: str | None


class DataChange(Block):
    """The catalog that the parent was registered with, and this release's."""

    before: CertifiedData | None
    after: CertifiedData


class CertifiedMethod(Block):
    """All that decides the weights beside data and code; hyper-parameters are what the method says they are."""

    name: str
    parameters: dict[str, Any]
    seed: int
    compute: dict[str, Any]


class CertifiedFigures(Block):
    """The parts of metrics.json that a certificate repeats: verdicts and measurements, but no costs."""

    diagnosis: Diagnosis | None = None
    gate: GateResult | None = None
    model: BaseFigures | None = None
    models: ComparedModels | None = None
    expected_similarity: float | None = None
    attempts: tuple[Attempt, ...] | None = None


class NotPurged(Block):
    """No purge has ended at the release."""

    state: Literal["not purged yet"]


class PurgeSummary(Block):
    """What a purge searched and found, by counts, and what it could not reach."""

    state: Literal["purged"]
    report: str
    sha256: str
    clean: bool
    files: int
    findings: int
    unread: int
    out_of_reach: tuple[str, ...]


class GateLimits(Block):
    """The gate's limits, those that the library ships, and the names of those that are looser than shipped."""

    used: dict[str, Any]
    shipped: dict[str, Any]
    looser: tuple[str, ...]


class LedgerAnchor(Block):
    """Number and hash of an event that the ledger must hold for ever."""

    seq: int
    hash: str


class RecordDigests(Block):
    """Digests of what MLflow was told in words and figures."""

    figures: str
    parameters: str
    description: str
    data_sets: str | None = None


class AboutBoth(Block):
    """What the certificates of a release and of a request have in common; `code` is the git commit."""

    release: str
    parent: str | None
    issuer: Issuer
    verdict: Verdict
    model: ModelDigests
    data: DataChange
    method: CertifiedMethod
    code: str
    figures: CertifiedFigures
    purge: NotPurged | PurgeSummary
    limits: tuple[str, ...]
    limits_of_the_gate: GateLimits | None = None


class ReleasePredicate(AboutBoth):
    """What a certificate says of a release."""

    release_digest: str
    requests: tuple[CertifiedRequest, ...]
    samples: SampleCounts
    made_from: tuple[Resource, ...]
    ledger: LedgerAnchor | None = None
    record: RecordDigests | None = None
    pipeline: tuple[Resource, ...] = ()
    not_covered: tuple[str, ...] = ()


class RequestPredicate(AboutBoth):
    """What a certificate says of one request that the release serves."""

    request: CertifiedRequest


class ReleaseStatement(Block):
    """An in-toto Statement v1 about a release; `subject` names every file that it vouches for."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Resource, ...]
    predicateType: Literal["urn:expunge:certificate:v1"]
    predicate: ReleasePredicate


class RequestStatement(Block):
    """An in-toto Statement v1 about one request, tied to the release's certificate by its subject."""

    type_: Literal["https://in-toto.io/Statement/v1"] = Field(alias="_type")
    subject: tuple[Resource, ...]
    predicateType: Literal["urn:expunge:request-certificate:v1"]
    predicate: RequestPredicate
