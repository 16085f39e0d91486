"""What a certificate says beside its files: the ledger's end, the gate's limits, the pipeline, what is not covered.

Somebody who raises a limit can let any model pass. So a certificate repeats the limits that judged beside those that
the library ships, and names the ones that are looser.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.evaluation.limits import limits as compared
from expunge.lineage.digests import sha256_if_there
from expunge.lineage.dvc.locks import relative
from expunge.lineage.mlflow.entry import RunRecord
from expunge.project.files import canonical_json, digest_of, sha256_bytes
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain
from expunge.settings import Params

if TYPE_CHECKING:
    from mlflow.entities import DatasetInput

NOT_COVERED = (
    "Bytes of SQLite files that hold no row of the ledger or of MLflow's record: free pages, page headers.",
    "In MLflow: points of curves, costs, times, users, names of runs and experiments; tags and tables for its own use.",
    "In DVC's lock files: commands, digests of code, values of settings: by them `dvc status` finds stale stages.",
    "Bits of a key's file that leave the key as it is, such as the ends of its lines.",
    "DVC's cache and remotes, whose objects DVC checks when it checks them out.",
    "What DVC and git keep for themselves: .dvc, .git, .dvcignore, .gitignore.",
    "The code that runs: git names its commit; and installed packages.",
    "Layout of dvc.yaml, params.yaml and release.yaml is noticed when it changes, and is no fault.",
    "An older ledger put back with its older head: found as far as a certificate or MLflow names a later event.",
    "What no decision rests on: previews, receipts, checkpoints and locks under .expunge, documentation.",
)


def anchor(requests: Sequence[Mapping[str, Any]]) -> dict[str, Any] | None:
    """Number and hash of the last event that a certificate repeats: the ledger must hold it for ever."""
    events = [event for request in requests for event in request["events"]]
    last = max(events, key=lambda event: event["seq"], default=None)
    return {"seq": last["seq"], "hash": last["hash"]} if last else None


def limits(params: Params) -> dict[str, Any]:
    """The gate's limits, those that the library ships, and the names of those that are looser than shipped."""
    return compared(params.model_dump(mode="json", include={"gate"}).get("gate", {}))


def pipeline(paths: Paths) -> list[dict[str, Any]]:
    """The text of the pipeline at this moment: settings, stages, tombstones."""
    files = [paths.params, paths.root / "dvc.yaml", paths.library_version]
    for name in chain(paths):
        where = paths.release(name)
        files += [where.tombstone] if name == BASE else [where.folder / "dvc.yaml", where.tombstone]
    found = [(path, sha256_if_there(path)) for path in files]
    return [{"name": relative(paths, path), "digest": {"sha256": digest}} for path, digest in found if digest]


def recorded(entry: RunRecord) -> dict[str, str]:
    """Digests of what MLflow was told in words and figures; seconds are left out, for another run takes others."""
    from expunge.lineage.mlflow.recorder import data_set_input

    return record_digests(
        entry.metrics,
        {"method": entry.method, **entry.parameters},
        entry.description,
        tuple(f"{prefix}/" for prefix in entry.curves),
        [data_set_input(data) for data in entry.data_sets],
    )


def record_digests(
    metrics: Mapping[str, float],
    parameters: Mapping[str, Any],
    description: str,
    curves: tuple[str, ...],
    data_sets: Sequence[DatasetInput],
) -> dict[str, str]:
    """As `recorded`, of the parts themselves; `curves` are prefixes of figures that have many points."""
    from expunge.lineage.mlflow.recorder import as_parameter

    left_out = (*curves, "cost/", "cost.")  # the latter in records of version 0.1
    return {
        "figures": digest_of({key: value for key, value in metrics.items() if not key.startswith(left_out)}),
        "parameters": digest_of({key: as_parameter(value) for key, value in parameters.items()}),
        "description": sha256_bytes(description.encode()),
        "data_sets": digest_of(sorted((_facts(one) for one in data_sets), key=canonical_json)),
    }


def _facts(data: DatasetInput) -> dict[str, Any]:
    return {**data.dataset.to_dictionary(), "tags": {tag.key: tag.value for tag in data.tags}}


def is_tombstone(path: str) -> bool:
    """Whether a file of the pipeline's text is one that nobody edits."""
    return Path(path).name == "purged.json"
