"""Step `register`: all that the other steps wrote → MLflow, the ledger, certificates and reports/R/registration.json.

The registration holds digests and the verdict only. Run ids and version numbers are MLflow's, and would make a second
run differ from the first. It is written last: a release without it is unfinished.
"""

from __future__ import annotations

import shutil
from typing import Any

from expunge.evaluation.metrics import BaseMetrics, Metrics, read_metrics
from expunge.intake.preview_page import discard_pages
from expunge.lineage import digests
from expunge.lineage.digests import sha256_if_there, weights
from expunge.lineage.dvc.locks import data_version, relative
from expunge.lineage.git import git_commit
from expunge.lineage.mlflow.entry import RunRecord
from expunge.lineage.mlflow.recorder import record
from expunge.models.files import WEIGHTS
from expunge.near_duplicates import suppression
from expunge.project.documents import write_document
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file
from expunge.project.paths import BASE, Paths
from expunge.proof.certificate import issue
from expunge.proof.coverage import limits, recorded
from expunge.proof.run_record import Said, ledger_head, run_record
from expunge.proof.signing import signing_key
from expunge.releases.chain import load_release, served_method
from expunge.releases.registration import Registration, Verdict, registration_of
from expunge.releases.release import Release
from expunge.settings import Params
from expunge.steps import step_main


def register(paths: Paths, params: Params, release: str) -> None:
    """SourceRow `release` in MLflow; if its gate passed, mark its requests as served; sign its certificate."""
    signing_key(paths, params.certificate)  # a missing key must not end a registration half way
    where = paths.release(release)
    metrics = read_metrics(where.metrics)
    description = None if release == BASE else load_release(paths, release)
    facts = registration(paths, release, metrics, description)
    # The ledger comes first: a request that was withdrawn while the release was built must not reach MLflow.
    if description and facts.verdict == "passed":
        _mark_released(paths, params, description, facts.model_digest)
        discard_pages(paths, [request.request_id for request in description.requests])
        shutil.rmtree(paths.comparisons, ignore_errors=True)  # they may show what is forgotten now
        listed = suppression.record(paths, release)
        print(f"register: {listed} forgotten samples are kept out of every later catalog")
    entry = _record(paths, params, facts, metrics, description)
    version = record(paths, params.mlflow, entry)
    issue(paths, params, facts, recorded(entry))
    write_document(where.registration, facts)
    print(f"register: {release} {facts.verdict}, {params.mlflow.registered_model}/{version} in MLflow")


def _mark_released(paths: Paths, params: Params, description: Release, model_digest: str) -> None:
    """Say in the ledger which release serves its requests.

    A clone of the project has the release but not the ledger in which its requests were decided; there is nothing to
    say there.
    """
    from expunge.requests.ledger import Ledger

    ledger = Ledger.open(params.ledger, paths.root)
    known = {record.request.request_id for record in ledger.records()}
    ids = [request.request_id for request in description.requests]
    ledger.mark_released([name for name in ids if name in known], description.release, model_digest)
    if strangers := [name for name in ids if name not in known]:
        print(f"register: {', '.join(strangers)} not in this ledger ({params.ledger.url}), so not marked as released")


def registration(paths: Paths, name: str, metrics: Metrics, description: Release | None) -> Registration:
    """The content of registration.json: what names the release, and the SHA-256 of every file that it is made of.

    Raises:
        ExpungeError: the model or the forget set is missing.
    """
    where = paths.release(name)
    for path in (weights(paths, name), *([where.forget] if description else [])):
        if not path.is_file():
            raise ExpungeError(f"{path} is missing; run `dvc repro` to build it.")
    model, forget = sha256_file(weights(paths, name)), sha256_if_there(where.forget)
    described, figures = digests.description_digest(paths, name), digests.metrics_digest(metrics)
    parent = description.parent if description else None
    return Registration(
        release=name,
        parent=parent,
        verdict=_verdict(metrics),
        release_digest=digests.release_digest(model, forget, described, figures),
        model_digest=model,
        parent_model_digest=_parent_model_digest(paths, parent),
        gold_model_digest=sha256_if_there(where.gold / WEIGHTS) if description and description.gold else None,
        forget_digest=forget,
        description_digest=described,
        metrics_digest=figures,
        catalog_digest=digests.catalog_digest(paths),
        data_version=data_version(paths) or digests.catalog_digest(paths),
        method=served_method(paths, description).name if description else None,
        requests={request.request_id: request.digest for request in description.requests} if description else {},
        files={relative(paths, path): sha256_file(path) for path in digests.release_files(paths, name)},
    )


def _verdict(metrics: Metrics) -> Verdict:
    if isinstance(metrics, BaseMetrics):
        return "not gated"
    return "passed" if metrics.gate.passed else "failed"


def _parent_model_digest(paths: Paths, parent: str | None) -> str | None:
    """As the parent's registration says, since its weights may have been purged; else as they are on disk."""
    if parent is None:
        return None
    known = registration_of(paths, parent)
    return known.model_digest if known else sha256_if_there(weights(paths, parent))


def _record(
    paths: Paths, params: Params, facts: Registration, metrics: Metrics, description: Release | None
) -> RunRecord:
    said = Said(
        parameters=_parameters(paths, params, description),
        commit=git_commit(paths.root),
        looser=limits(params)["looser"],
        ledger=ledger_head(paths, params) if description else "",
    )
    return run_record(paths, facts, metrics, description, said)


def _parameters(paths: Paths, params: Params, description: Release | None) -> dict[str, Any]:
    """Hyper-parameters as the unlearning run wrote them down; of `base`, those of its training."""
    if description:
        return read_json(paths.release(description.release).unlearning).get("parameters", {})
    return params.train.model_dump(mode="json") | {"seed": params.seed}


if __name__ == "__main__":
    step_main(register)
