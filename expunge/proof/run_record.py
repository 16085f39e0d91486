"""What MLflow is told of a release, from its files: when it is registered, and again where MLflow has lost it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.parquet as pq

from expunge.corpus.catalog import MANIFEST, listed_shards
from expunge.evaluation.metrics import Metrics, ReleaseMetrics
from expunge.lineage.dvc.locks import read_locks, relative
from expunge.lineage.mlflow.entry import DataSet, RunRecord, flatten
from expunge.models.files import CONFIG, WEIGHTS, beside_weights
from expunge.project.documents import content_of
from expunge.project.files import read_json
from expunge.project.paths import Paths
from expunge.releases.registration import Registration
from expunge.releases.release import Release
from expunge.report import words
from expunge.settings import Params


@dataclass(frozen=True)
class Said:
    """What the files of a release do not say of its making.

    Attributes:
        parameters: hyper-parameters of the method; of `base`, those of its training.
        commit: git's, of the code that made it.
        looser: limits of the gate that were looser than shipped.
        ledger: number and hash of the ledger's last event; empty for `base`.
    """

    parameters: Mapping[str, Any]
    commit: str
    looser: Sequence[str]
    ledger: str


def run_record(
    paths: Paths, facts: Registration, metrics: Metrics, description: Release | None, said: Said
) -> RunRecord:
    """Everything that MLflow is told of the release that `facts` register."""
    where = paths.release(facts.release)
    curves = {"unlearning": where.unlearning_curve, "retraining": where.gold_curve}
    return RunRecord(
        release=facts.release,
        parent=facts.parent,
        requests=facts.requests,
        method=facts.method or "training",
        parameters=said.parameters,
        data_version=facts.data_version or "",
        git_commit=said.commit,
        model_digest=facts.model_digest,
        release_digest=facts.release_digest,
        verdict=facts.verdict,
        data_sets=_data_sets(paths, facts),
        metrics=_figures(metrics),
        curves=curves if description else {"training": where.training_curve},
        artifacts=(where.page, where.metrics, where.figures),
        model_files=(where.model / WEIGHTS, where.model / CONFIG, *beside_weights(where.model)),
        description=_description(facts, metrics, said.commit, said.looser),
        ledger=said.ledger,
    )


def ledger_head(paths: Paths, params: Params) -> str:
    """Where the ledger stands; a ledger that was cut off before this event cannot deny it."""
    from expunge.requests.ledger import Ledger

    head = Ledger.open(params.ledger, paths.root).verify_chain()
    return f"{head.seq}:{head.hash}"


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
