"""Recording a release in MLflow, in a row of steps of which each may be done twice.

Everything is keyed by the *release digest*. Recording is a row of steps of which each may be done twice: find the run
or create it, write the same values with the same timestamp, find the model or create it. The version comes last, so a
version that exists vouches for all before it, and a killed recording is completed by the next one. A release that
was built again with other content has another digest: it gets a new version, and the old one names its successor.

The alias `candidate` goes to the newest release that passed its gate. `champion` goes
where a person says, in MLflow's UI or by `appoint_champion`.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from filelock import FileLock

from expunge.lineage.mlflow.entry import DataSet, RunRecord, shortened
from expunge.lineage.mlflow.store import Store, plain_errors, tracking_uri
from expunge.lineage.settings import MlflowParams
from expunge.models.curves import read_curve
from expunge.project.paths import Paths

if TYPE_CHECKING:
    from mlflow.entities import LoggedModel, Run
    from mlflow.entities.model_registry import ModelVersion


CANDIDATE, CHAMPION = "candidate", "champion"


DIGEST_LIMIT = 36
"""Characters of a data set's digest in MLflow: an md5 of DVC with its `.dir` fits exactly, a SHA-256 does not."""


METRICS_A_CALL, PARAMS_A_CALL = 1000, 100


def record(paths: Paths, params: MlflowParams, entry: RunRecord) -> str:
    """Record a release once, and return the number of its version.

    Recording the same release again sees to the aliases and to the copy of the report only.

    Raises:
        ExpungeError: MLflow cannot be reached or refuses.
    """
    lock = paths.checkpoints.parent / "mlflow.lock"
    lock.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(lock), plain_errors(tracking_uri(paths, params)):
        return Recorder(Store.open(paths, params)).record(entry)


def appoint_champion(paths: Paths, params: MlflowParams, version: str, by: str, at: str) -> None:
    """Give a version the alias `champion`; its tags keep who did so, and when.

    Raises:
        ExpungeError: MLflow cannot be reached or refuses.
    """
    with plain_errors(tracking_uri(paths, params)):
        store = Store.open(paths, params)
        for key, value in (("promoted_by", by), ("promoted_at", at)):
            store.client.set_model_version_tag(store.model, version, key, value)
        store.client.set_registered_model_alias(store.model, CHAMPION, version)


class Recorder:
    """Writes one release into a store."""

    def __init__(self, store: Store) -> None:
        self.store = store

    def record(self, entry: RunRecord) -> str:
        """The steps of a recording, in the order that makes each safe to be the last one before a kill."""
        version = self._sound_version(entry.release_digest)
        if version is None:
            self._clear_abandoned(entry)
            run = self._run(entry)
            model = self._logged_model(entry, run)
            self._fill(run, model, entry)
            self.store.client.set_terminated(run.info.run_id, "FINISHED")
            version = self._version(entry, run, model)
        else:
            # Seconds on the page may have changed: they do not make another release.
            known = self.store.client.get_model_version(self.store.model, version)
            self._log_artifacts(str(known.run_id), entry)
        self._supersede(entry, version)
        self._point_candidate(entry, version)
        return version

    def _sound_version(self, digest: str) -> str | None:
        """The version of this digest; one whose run or model was deleted by hand is removed, to be made anew."""
        sound = None
        for version in self.store.versions():
            if version.tags.get("release_digest") != digest:
                continue
            if sound is None and version.status == "READY" and self._is_whole(version):
                sound = version.version
            else:
                self.store.client.delete_model_version(self.store.model, version.version)
        return None if sound is None else str(sound)

    def _is_whole(self, version: ModelVersion) -> bool:
        runs = self.store.runs("release_digest", version.tags["release_digest"])
        models = self.store.models("release_digest", version.tags["release_digest"])
        finished = any(run.info.run_id == version.run_id and run.info.status == "FINISHED" for run in runs)
        return finished and any(version.source == model.model_uri and model.status == "READY" for model in models)

    def _clear_abandoned(self, entry: RunRecord) -> None:
        """Remove what a killed recording of *other* content of this release left: no one will complete it."""
        recorded = {version.tags.get("release_digest") for version in self.store.versions()} | {entry.release_digest}
        for model in self.store.models("release", entry.release):
            if model.tags.get("release_digest") not in recorded:
                self.store.client.delete_logged_model(model.model_id)
        for run in self.store.runs("release", entry.release):
            if run.data.tags.get("release_digest") not in recorded:
                self.store.client.delete_run(run.info.run_id)

    def _run(self, entry: RunRecord) -> Run:
        if found := self.store.runs("release_digest", entry.release_digest):
            return found[0]
        tags = entry.tags | {
            "mlflow.note.content": entry.description,
            "mlflow.source.name": "expunge.steps.register",
            "mlflow.source.type": "LOCAL",
            "mlflow.source.git.commit": entry.git_commit.removesuffix("-dirty"),
        }
        return self.store.client.create_run(self.store.experiment_id, tags=tags, run_name=entry.title)

    def _logged_model(self, entry: RunRecord, run: Run) -> LoggedModel:
        found = [
            model
            for model in self.store.models("release_digest", entry.release_digest)
            if model.source_run_id == run.info.run_id
        ]
        if found:
            return found[0]
        return self.store.client.create_logged_model(
            self.store.experiment_id,
            name=f"{self.store.model}-{entry.release}",
            source_run_id=run.info.run_id,
            tags=entry.tags,
            model_type="open_clip",
        )

    def _fill(self, run: Run, model: LoggedModel, entry: RunRecord) -> None:
        """Everything that belongs to the run and to the model; writing it twice changes nothing."""
        run_id, client = run.info.run_id, self.store.client
        self._log_parameters(run, entry)
        client.log_inputs(run_id, [data_set_input(data) for data in entry.data_sets])
        if not (run.outputs and run.outputs.model_outputs):
            from mlflow.entities import LoggedModelOutput

            client.log_outputs(run_id, [LoggedModelOutput(model.model_id, step=0)])
        self._log_metrics(run, model, entry)
        self._log_artifacts(run_id, entry)
        for path in entry.model_files:
            client.log_model_artifact(model.model_id, str(path))
        client.finalize_logged_model(model.model_id, "READY")

    def _log_artifacts(self, run_id: str, entry: RunRecord) -> None:
        for path in entry.artifacts:
            if path.is_dir():
                self.store.client.log_artifacts(run_id, str(path), path.name)
            elif path.is_file():
                self.store.client.log_artifact(run_id, str(path))

    def _log_parameters(self, run: Run, entry: RunRecord) -> None:
        from mlflow.entities import Param

        values = {"method": entry.method, **entry.parameters}
        missing = [Param(key, as_parameter(value)) for key, value in values.items() if key not in run.data.params]
        for start in range(0, len(missing), PARAMS_A_CALL):
            self.store.client.log_batch(run.info.run_id, params=missing[start : start + PARAMS_A_CALL])

    def _log_metrics(self, run: Run, model: LoggedModel, entry: RunRecord) -> None:
        from mlflow.entities import Metric

        # One timestamp for all: MLflow drops a point that it has already, so a second attempt adds nothing.
        moment = run.info.start_time
        figures = [
            Metric(key, value, moment, 0, model_id=model.model_id if key.startswith("unlearned/") else None)
            for key, value in entry.metrics.items()
        ]
        figures += [
            Metric(f"{prefix}/{key}", value, moment, step)
            for prefix, path in entry.curves.items()
            for step, row in read_curve(path)
            for key, value in row.items()
        ]
        for start in range(0, len(figures), METRICS_A_CALL):
            self.store.client.log_batch(run.info.run_id, metrics=figures[start : start + METRICS_A_CALL])

    def _version(self, entry: RunRecord, run: Run, model: LoggedModel) -> str:
        version = self.store.client.create_model_version(
            self.store.model,
            source=model.model_uri,
            run_id=run.info.run_id,
            tags=entry.tags,
            description=entry.description,
            model_id=model.model_id,
        )
        return str(version.version)

    def _supersede(self, entry: RunRecord, current: str) -> None:
        """Point the older contents of the same release to the current one."""
        for version in self.store.versions():
            if version.tags.get("release") != entry.release:
                continue
            number, points_to = str(version.version), version.tags.get("superseded_by")
            if number != current and points_to != current:
                self.store.client.set_model_version_tag(self.store.model, number, "superseded_by", current)
            elif number == current and points_to is not None:
                self.store.client.delete_model_version_tag(self.store.model, number, "superseded_by")

    def _point_candidate(self, entry: RunRecord, current: str) -> None:
        """Move `candidate` here if the gate passed; take it from an older content of this release if it did not.

        It never moves back to an ancestor: registering an old release again must not undo a newer deletion.
        """
        versions = {str(version.version): version for version in self.store.versions()}
        holder = versions.get(self.store.aliases().get(CANDIDATE, ""))
        if entry.verdict != "passed":
            if holder and holder.tags.get("release") == entry.release:
                self.store.client.delete_registered_model_alias(self.store.model, CANDIDATE)
            return
        if holder and (str(holder.version) == current or entry.release in _ancestors(holder, versions.values())):
            return
        self.store.client.set_registered_model_alias(self.store.model, CANDIDATE, current)


def _ancestors(version: ModelVersion, versions: Iterable[ModelVersion]) -> set[str]:
    """Names of the releases from which the release of `version` descends, by the tags of all versions."""
    parents = {other.tags.get("release"): other.tags.get("parent") for other in versions}
    found: set[str] = set()
    name = version.tags.get("parent")
    while name and name not in found:
        found.add(name)
        name = parents.get(name)
    return found


def as_parameter(value: Any) -> str:
    """A parameter as MLflow keeps it; the same whatever order the keys of a mapping have been read in."""
    return shortened(value if isinstance(value, str) else json.dumps(value, sort_keys=True))


def data_set_input(data: DataSet) -> Any:
    """A data set as MLflow is told of it."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    facts = {"samples": data.samples, "sha256": data.sha256}
    return DatasetInput(
        Dataset(
            name=data.name,
            digest=data.digest[:DIGEST_LIMIT],
            source_type="local",
            source=json.dumps({"uri": data.path}),
            profile=json.dumps(facts),
        ),
        tags=[
            InputTag("mlflow.data.context", data.context),
            InputTag("dvc.path", data.path),
            InputTag("dvc.md5", data.digest),
            InputTag("sha256", data.sha256),
        ],
    )
