"""Step `register`: all that the other steps wrote → MLflow, the ledger, certificates and reports/R/registration.json.

The registration holds digests and the verdict only. Run ids and version numbers are MLflow's, and would make a second
run differ from the first. It is written last: a release without it is unfinished.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from typing import Any

import pyarrow.parquet as pq

from expunge.corpus.catalog import MANIFEST, listed_shards
from expunge.evaluation.metrics import BaseMetrics, Metrics, ReleaseMetrics, read_metrics
from expunge.intake.preview_page import discard_pages
from expunge.lineage import digests
from expunge.lineage.digests import sha256_if_there, weights
from expunge.lineage.dvc.locks import data_version, read_locks, relative
from expunge.lineage.git import git_commit
from expunge.lineage.mlflow.entry import DataSet, RunRecord, flatten
from expunge.lineage.mlflow.recorder import record
from expunge.models.files import CONFIG, WEIGHTS, beside_weights
from expunge.near_duplicates import suppression
from expunge.project.documents import content_of, write_document
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json, sha256_file
from expunge.project.paths import BASE, Paths
from expunge.proof.certificate import issue
from expunge.proof.coverage import limits, recorded
from expunge.proof.signing import signing_key
from expunge.releases.chain import load_release, served_method
from expunge.releases.registration import Registration, Verdict, registration_of
from expunge.releases.release import Release
from expunge.report import words
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
    where, commit = paths.release(facts.release), git_commit(paths.root)
    curves = {"unlearning": where.unlearning_curve, "retraining": where.gold_curve}
    return RunRecord(
        release=facts.release,
        parent=facts.parent,
        requests=facts.requests,
        method=facts.method or "training",
        parameters=_parameters(paths, params, description),
        data_version=facts.data_version or "",
        git_commit=commit,
        model_digest=facts.model_digest,
        release_digest=facts.release_digest,
        verdict=facts.verdict,
        data_sets=_data_sets(paths, facts),
        metrics=_figures(metrics),
        curves=curves if description else {"training": where.training_curve},
        artifacts=(where.page, where.metrics, where.figures),
        model_files=(where.model / WEIGHTS, where.model / CONFIG, *beside_weights(where.model)),
        description=_description(facts, metrics, commit, limits(params)["looser"]),
        ledger=_ledger_head(paths, params) if description else "",
    )


def _ledger_head(paths: Paths, params: Params) -> str:
    """Where the ledger stands; a ledger that was cut off before this event cannot deny it."""
    from expunge.requests.ledger import Ledger

    head = Ledger.open(params.ledger, paths.root).verify_chain()
    return f"{head.seq}:{head.hash}"


def _parameters(paths: Paths, params: Params, description: Release | None) -> dict[str, Any]:
    """Hyper-parameters as the unlearning run wrote them down; of `base`, those of its training."""
    if description:
        return read_json(paths.release(description.release).unlearning).get("parameters", {})
    return params.train.model_dump(mode="json") | {"seed": params.seed}


def _data_sets(paths: Paths, facts: Registration) -> list[DataSet]:
    catalog = relative(paths, paths.catalog)
    samples = sum(shard.rows for shard in listed_shards(paths.catalog, read_json(paths.catalog / MANIFEST)))
    found = [DataSet("catalog", "training", catalog, facts.data_version or "", facts.catalog_digest or "", samples)]
    if facts.forget_digest:
        where = paths.release(facts.release)
        rows = pq.read_metadata(where.forget).num_rows
        md5 = read_locks(paths).md5(relative(paths, where.sets)) or facts.forget_digest
        found.append(DataSet("forget-set", "forget", relative(paths, where.sets), md5, facts.forget_digest, rows))
    return found


def _figures(metrics: Metrics) -> dict[str, float]:
    """Final figures by name: the dozen that a reader wants first, then all in groups, such as
    `unlearned/forget/image_to_text_r1`, `gate/membership/value`, `cost/…`."""
    content = content_of(metrics)
    flat = flatten({key: content[key] for key in ("model", "cost", "per_request") if key in content})
    if isinstance(metrics, ReleaseMetrics):
        flat |= flatten(content["models"])
        for check in metrics.gate.checks:
            flat |= flatten({"value": check.value, "limit": check.limit}, f"gate/{check.name}/")
        flat |= flatten(_first_figures(metrics))
    return flat


def _first_figures(metrics: ReleaseMetrics) -> dict[str, float | None]:
    """What stands before all groups in MLflow: the verdict, and each thing beside the retrained model's."""
    release, gold = metrics.models.unlearned, metrics.models.retrained
    worst = max((check.value / check.limit for check in metrics.gate.checks if check.limit), default=0.0)
    return {
        "gate_passed": float(metrics.gate.passed),
        "gate_checks_failed": float(len(metrics.gate.failed)),
        "gate_worst_share_of_limit": worst,
        "forgotten_recall": release.forget.image_to_text_r1,
        "forgotten_recall_retrained": gold.forget.image_to_text_r1 if gold else None,
        "forgotten_similarity": release.forget.pair_similarity,
        "forgotten_similarity_retrained": gold.forget.pair_similarity if gold else None,
        "membership_auc": release.mia_auc,
        "membership_auc_retrained": gold.mia_auc if gold else None,
        "neighbours_recall": release.neighbours.image_to_text_r1,
        "retained_recall": release.retain.image_to_text_r1,
        "held_out_recall": release.test.image_to_text_r1,
    }


def _description(facts: Registration, metrics: Metrics, commit: str, looser: Sequence[str]) -> str:
    """Markdown for the run and the version: the verdict is to be read without a click."""
    judged = metrics if isinstance(metrics, ReleaseMetrics) else None
    gate, diagnosis = (judged.gate, judged.diagnosis) if judged else (None, None)
    lines = [f"**{words.headline(gate, looser)}** {words.explanation(gate, diagnosis, looser)}", ""]
    if judged and gate:
        lines += ["| check | outcome | value | limit |", "|---|---|---|---|"]
        lines += [
            f"| {words.title_of_check(check.name)} | {'✓ passed' if check.passed else '✕ **failed**'} "
            f"| {check.value:.3f} | {check.limit:.3f} |"
            for check in gate.checks
        ]
        lines += [
            "",
            f"Requests: {', '.join(facts.requests)}. Made from `{facts.parent}` by `{facts.method}`.",
        ]
        lines += [
            f"Tried before: `{attempt.method}`, which failed {', '.join(attempt.failed)}."
            for attempt in judged.refused_attempts
        ]
    lines += [
        "",
        f"- model `{facts.model_digest}`",
        f"- data version `{facts.data_version}`",
        f"- code `{commit}`",
        f"- the report: artifact `report.html` of the run, or `reports/{facts.release}/report.html` of the project",
        f"- the whole chain: `expunge trace {facts.release}`",
    ]
    return "\n".join(lines)


if __name__ == "__main__":
    step_main(register)
