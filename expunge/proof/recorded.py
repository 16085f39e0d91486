"""MLflow's record of a release against its certificate: figures, parameters, words, tags, and their connection."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlparse

from expunge.lineage.account import Comparison
from expunge.lineage.checks import ABSENT, compare, problem
from expunge.lineage.lineage import Project
from expunge.lineage.mlflow.entry import is_recorded
from expunge.lineage.mlflow.store import plain_errors, tracking_uri
from expunge.models.files import CONFIG, WEIGHTS, beside_weights
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of
from expunge.proof.coverage import record_digests

if TYPE_CHECKING:
    from mlflow.entities import Experiment, LoggedModel, Run

CURVES = tuple(f"{name}{end}" for name in ("unlearning", "retraining", "training") for end in "/.")


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
            experiment = project.record.client.get_experiment(run.info.experiment_id)
    except ExpungeError as error:
        return [problem("MLflow run of the version", where, str(error))]
    found = record_digests(
        run.data.metrics, run.data.params, version.description or "", CURVES, run.inputs.dataset_inputs
    )
    return [
        *(compare(f"MLflow {part}", where, certified[part], found[part]) for part in certified),
        *_model_checks(where, run, model),
        *_copy_checks(project, name, run, model),
        compare("MLflow description of the run", where, version.description, run.data.tags.get("mlflow.note.content")),
        compare("MLflow run of the model", where, version.run_id, model.source_run_id),
        compare("MLflow commit", where, predicate["code"], version.tags.get("git_commit")),
        compare("MLflow state of the run", where, "FINISHED", run.info.status),
        compare("MLflow state of the model", where, "READY", str(model.status)),
        compare("MLflow state of the version", where, "READY", version.status),
        compare("MLflow name of the model", where, f"{version.name}-{name}", model.name),
        *_address_checks(where, experiment, run, model),
        *_tag_checks(where, version.tags, {"run": run.data.tags, "model": model.tags}),
        compare("MLflow tag release", where, name, version.tags.get("release")),
        compare("MLflow tag parent", where, predicate["parent"] or "", version.tags.get("parent")),
    ]


def _address_checks(where: str, experiment: Experiment, run: Run, model: LoggedModel) -> list[Comparison]:
    """Where artifacts lie follows from the experiment's own place, so nobody is sent to look at others."""
    root = experiment.artifact_location.rstrip("/")
    places = {
        "run": (f"{root}/{run.info.run_id}/artifacts", run.info.artifact_uri),
        "model": (f"{root}/models/{model.model_id}/artifacts", model.artifact_location),
    }
    return [
        compare(f"MLflow artifacts of the {of}", where, expected, found) for of, (expected, found) in places.items()
    ]


def _tag_checks(where: str, tags: Mapping[str, str], others: Mapping[str, Mapping[str, str]]) -> Iterator[Comparison]:
    """The version, its run and its model were given the same tags."""
    for other, found in others.items():
        for key in sorted(key for key in {*tags, *found} if is_recorded(key)):
            yield compare(f"MLflow tag {key} of the {other}", where, tags.get(key, ABSENT), found.get(key, ABSENT))


def _model_checks(where: str, run: Run, model: LoggedModel) -> list[Comparison]:
    """The model's own figures are those of its run, and each names the other."""
    of_run = {key: value for key, value in run.data.metrics.items() if key.startswith(("unlearned.", "unlearned/"))}
    of_model = {metric.key: metric.value for metric in model.metrics or () if metric.run_id == run.info.run_id}
    made = [output.model_id for output in run.outputs.model_outputs]
    return [
        compare("MLflow figures of the model", where, digest_of(of_run), digest_of(of_model)),
        compare("MLflow model of the run", where, model.model_id, ", ".join(made) or ABSENT),
        compare("MLflow experiment of the model", where, run.info.experiment_id, model.experiment_id),
    ]


def _copy_checks(project: Project, name: str, run: Run, model: LoggedModel) -> list[Comparison]:
    """Copies that MLflow keeps, where that is on this machine, against the files that are certified themselves.

    A purge removes the copies of what it purged; the weights are compared with the registration.
    """
    paths = project.paths.release(name)
    folder, weights = _local(run.info.artifact_uri), _local(model.artifact_location)
    kept = (paths.model / CONFIG, *beside_weights(paths.model))
    copies = {weights / path.name: path for path in kept} if weights else {}
    if folder:
        copies |= {folder / path.name: path for path in (paths.page, paths.metrics)}
        figures = folder / paths.figures.name
        copies |= {figures / path.relative_to(paths.figures): path for path in paths.figures.rglob("*")}
    checks = [
        compare(f"MLflow copy of {path.name}", str(copy), project.sha256(path), project.sha256(copy) or ABSENT)
        for copy, path in copies.items()
        if path.is_file()
    ]
    there = {path for kept in (folder, weights) if kept for path in kept.rglob("*") if not path.is_dir()}
    known = {*copies, *({weights / WEIGHTS} if weights else ())}
    return checks + [problem("MLflow copy", str(path), "nothing of it was recorded") for path in sorted(there - known)]


def _local(uri: str) -> Path | None:
    """A folder of MLflow's on this machine, None where it is elsewhere or was not copied along with the project."""
    parts = urlparse(uri)
    folder = Path(unquote(parts.path))
    return folder if parts.scheme in ("", "file") and folder.is_dir() else None
