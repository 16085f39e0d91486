"""The made-up project of `fake_release` with a real ledger and real certificates; no MLflow, nothing trained."""

from __future__ import annotations

from datetime import UTC, date, datetime
from pathlib import Path
from typing import Any

from expunge.evaluation.metrics import read_metrics
from expunge.lineage.digests import weights
from expunge.project.documents import write_document
from expunge.project.files import sha256_file, write_bytes
from expunge.project.paths import BASE, Paths
from expunge.proof.certificate import issue
from expunge.proof.settings import CertificateParams
from expunge.releases.chain import load_release
from expunge.requests.ledger import Ledger
from expunge.requests.settings import LedgerParams
from expunge.settings import Params
from expunge.steps.register import registration
from fake_release import SECRET_IDS, SECRET_NOTE, make_project, params_of

LEDGER = LedgerParams(seed=None)


def certified_project(root: Path, passed: bool = True, gold: bool = True, **certificate: Any) -> tuple[Paths, Params]:
    """`base` and `r001`, whose requests are in the ledger and released, with their certificates."""
    params = params_of(root, certificate=CertificateParams(**certificate))
    paths = make_project(root, passed=passed, gold=gold)
    ledger = requests_in_ledger(paths)
    if passed:
        ledger.mark_released(["req-0001", "req-0002"], "r001", sha256_file(weights(paths, "r001")))
    for name in (BASE, "r001"):
        certify(paths, params, name)
    return paths, params


def requests_in_ledger(paths: Paths, params: LedgerParams = LEDGER) -> Ledger:
    """A ledger with the two requests of the made-up release, approved."""
    ledger = Ledger.open(params, paths.root, lambda: datetime(2026, 11, 2, 9, tzinfo=UTC))
    for sample_id, basis in zip(SECRET_IDS, ("gdpr-art17", "copyright"), strict=True):
        selectors = [{"kind": "id", "ids": [sample_id]}]
        request = ledger.add(selectors, basis, due=date(2026, 12, 2), note=SECRET_NOTE, by="tests")
        ledger.approve(request.request_id, "tests")
    return ledger


def certify(paths: Paths, params: Params, name: str) -> None:
    """What the step `register` writes, without MLflow."""
    where = paths.release(name)
    write_bytes(where.page, b"<html></html>\n")
    write_bytes(where.figures / "curves.svg", b"<svg></svg>\n")
    facts = registration(paths, name, read_metrics(where.metrics), None if name == BASE else load_release(paths, name))
    issue(paths, params, facts)
    write_document(where.registration, facts)


def purged(findings: int = 0, files: int = 7) -> dict[str, Any]:
    """The parts of purge.json that others read."""
    found = [{"path": "mlflow.db", "kind": "caption", "samples": 1}] * findings
    scan = {"files": files, "findings": found, "unread": []}
    return {"clean": not findings, "scan": scan, "out_of_reach": ["backups"]}
