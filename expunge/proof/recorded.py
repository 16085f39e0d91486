"""MLflow's record of a release against its certificate: figures, parameters, words, tags, and their connection."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.lineage.account import Comparison
from expunge.lineage.checks import compare, problem
from expunge.lineage.lineage import Project
from expunge.lineage.mlflow.store import plain_errors, tracking_uri
from expunge.project.errors import ExpungeError
from expunge.proof.coverage import record_digests

CURVES = ("unlearning.", "retraining.", "training.")


def record_checks(project: Project, name: str, predicate: Mapping[str, Any]) -> list[Comparison]:
    """What MLflow says of release `name`; nothing where MLflow has no version of it, which other checks report."""
    version = project.current_version(name)
    certified = predicate.get("record")
    if version is None or not certified:
        return []
    where = f"{version.name}/{version.version}"
    uri = tracking_uri(project.paths, project.params.mlflow)
    try:
        with plain_errors(uri):
            run = project.record.client.get_run(version.run_id)
            model = project.record.client.get_logged_model(version.source.rpartition("/")[2])
    except ExpungeError as error:
        return [problem("MLflow run of the version", where, str(error))]
    found = record_digests(run.data.metrics, run.data.params, version.description or "", CURVES)
    tags = {key: value for key, value in version.tags.items() if key in run.data.tags or key in model.tags}
    return [
        *(compare(f"MLflow {part}", where, certified[part], found[part]) for part in certified),
        compare("MLflow description of the run", where, version.description, run.data.tags.get("mlflow.note.content")),
        compare("MLflow run of the model", where, version.run_id, model.source_run_id),
        compare("MLflow commit", where, predicate["code"], version.tags.get("git_commit")),
        compare("MLflow state of the run", where, "FINISHED", run.info.status),
        *(compare(f"MLflow tag {key} of the run", where, value, run.data.tags.get(key)) for key, value in tags.items()),
        *(compare(f"MLflow tag {key} of the model", where, value, model.tags.get(key)) for key, value in tags.items()),
        compare("MLflow tag release", where, name, version.tags.get("release")),
        compare("MLflow tag parent", where, predicate["parent"] or "", version.tags.get("parent")),
    ]
