"""Releases that MLflow has no record of, as in a clone: they are recorded again from their files, as certified."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from expunge.evaluation.metrics import read_metrics
from expunge.lineage.digests import weights
from expunge.lineage.lineage import Project, RecordedProject
from expunge.lineage.mlflow.recorder import record
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE
from expunge.proof.coverage import recorded
from expunge.proof.run_record import Said, ledger_head, run_record
from expunge.proof.signing import read_signed, trusted_key
from expunge.releases.chain import load_release
from expunge.releases.registration import registered
from expunge.repair.state import BlockingState, Site


def record_state(site: Site) -> Iterator[BlockingState]:
    """MLflow has no version of releases that it was told of: in a clone, or where its database was lost."""
    if missing := _missing(site):
        yield BlockingState(
            "MLflow",
            f"It has no record of {', '.join(missing)}: traces end there.",
            "record them again from their files, after `dvc pull`, as their certificates say",
            mend=lambda by: " ".join(record_again(site)),
            severity="warning",
        )


def record_again(site: Site) -> list[str]:
    """Record what MLflow has lost; one sentence for each release. Doing it again changes nothing.

    What people added in MLflow, such as `champion`, is in no file and stays lost.
    """
    found = []
    for name, certified in _missing(site).items():
        try:
            found.append(_recorded_again(site, name, certified))
        except ExpungeError as error:
            found.append(f"{name} is not recorded in MLflow: {error}")
    return found


def _missing(site: Site) -> dict[str, dict[str, Any]]:
    """Release → what its certificate says, of those that MLflow was told of and has no version of.

    Of a purged one there is nothing left to record.
    """
    project = (Project if site.proves else RecordedProject)(site.paths, site.params)
    found = {}
    for name in project.names:
        where = site.paths.release(name)
        if not where.registration.is_file() or not where.certificate.is_file() or project.current_version(name):
            continue
        with suppress(ExpungeError):  # of a damaged one `expunge verify` tells
            certified = read_signed(where.certificate, trusted_key(site.paths, site.params.certificate))["predicate"]
            if certified.get("record"):
                found[name] = certified
    return found


def _recorded_again(site: Site, name: str, certified: dict[str, Any]) -> str:
    paths, params, base = site.paths, site.params, name == BASE
    if not weights(paths, name).is_file():
        return f"The model of {name} is not here; after `dvc pull`, `expunge repair` records it in MLflow."
    method = certified["method"]
    said = Said(
        parameters=method["parameters"] | ({"seed": method["seed"]} if base else {}),
        commit=certified["code"],
        looser=certified["limits_of_the_gate"]["looser"],
        ledger="" if base else ledger_head(paths, params),
    )
    description, metrics = None if base else load_release(paths, name), read_metrics(paths.release(name).metrics)
    entry = run_record(paths, registered(paths, name), metrics, description, said)
    if other := [part for part, digest in recorded(entry).items() if digest != certified["record"].get(part)]:
        return (
            f"{name} is not recorded in MLflow: its files say something else than was certified ({', '.join(other)})."
        )
    version = record(paths, params.mlflow, entry)
    return f"{name} is recorded in MLflow again, as {params.mlflow.registered_model}/{version}."
