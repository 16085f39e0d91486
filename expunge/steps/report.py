"""Step `report`: the metrics, curves and digests of release R → reports/R/report.html and reports/R/figures."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.corpus.catalog import MANIFEST
from expunge.corpus.quarantine import read_intake
from expunge.evaluation.metrics import Metrics, ReleaseMetrics, read_metrics
from expunge.lineage.digests import catalog_digest, sha256_if_there, weights
from expunge.lineage.dvc.locks import read_locks, relative
from expunge.lineage.git import git_commit
from expunge.models.files import CONFIG, WEIGHTS
from expunge.project.columns import read_table
from expunge.project.files import read_json, write_bytes
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, load_release, served_method
from expunge.releases.registration import registration_of
from expunge.releases.release import Release
from expunge.report.figures import figures_of
from expunge.report.page import ChainLink, DigestLine, Facts, RequestLine, render
from expunge.report.pictures import found_pictures
from expunge.requests.request import DeletionRequest
from expunge.selection.sets import read_forget
from expunge.settings import Params
from expunge.steps import step_main


def report(paths: Paths, params: Params, release: str) -> None:
    """Write the report page of `release` and its figures, which MLflow shows on their own."""
    where = paths.release(release)
    facts = gather(paths, release, params.model_dump(mode="json", include={"gate"}).get("gate", {}))
    stale = set(where.figures.glob("*.svg"))
    for figure in facts.figures:
        target = where.figures / f"{figure.name}.svg"
        write_bytes(target, figure.file)
        stale.discard(target)
    for leftover in stale:
        leftover.unlink()
    write_bytes(where.page, render(facts).encode())
    print(f"report: {where.page}, {len(facts.figures)} figures")


def gather(paths: Paths, name: str, gate: Mapping[str, Any]) -> Facts:
    """All that the page shows, read from the release's files; `gate` holds the limits that judged."""
    where = paths.release(name)
    metrics = read_metrics(where.metrics)
    description = None if name == BASE else load_release(paths, name)
    manifest = read_json(paths.catalog / MANIFEST)
    names = chain(paths)
    names = names[: names.index(name) + 1]
    intake = read_intake(paths.quarantine)
    return Facts(
        release=name,
        metrics=metrics,
        method=served_method(paths, description).name if description else None,
        requests=[_request_line(request, metrics) for request in description.requests] if description else [],
        inherited=_inherited(paths, name) if description else 0,
        chain=[_link(paths, one, metrics if one == name else None) for one in names],
        digests=_digest_lines(paths, name, description),
        weights=(relative(paths, weights(paths, name)), sha256_if_there(weights(paths, name)) or "missing"),
        git_commit=git_commit(paths.root),
        credit={
            "source": f"{manifest['source']} {manifest['source_version']}",
            "license": manifest["license"],
            "credit": manifest["credit"].rstrip("."),
        },
        figures=figures_of(paths, name, metrics, names[:-1]),
        rungs=[rung.name for rung in description.rungs] if description else (),
        gate=gate,
        pictures=found_pictures(paths, name, _forgotten(paths, name)) if description else (),
        intake=intake.sentence() if intake and description is None else None,
    )


def _request_line(request: DeletionRequest, metrics: Metrics) -> RequestLine:
    served = metrics.per_request.get(request.request_id) if isinstance(metrics, ReleaseMetrics) else None
    return RequestLine(
        request_id=request.request_id,
        basis=request.basis,
        received=request.received_at[:10],
        due=str(request.due),
        samples=served.count if served else None,
        digest=request.digest,
    )


def _inherited(paths: Paths, name: str) -> int:
    """Samples in the forget set that an earlier release had forgotten; only the column `release` is read."""
    releases = read_table(paths.release(name).forget, ["release"])["release"].to_pylist()
    return sum(release != name for release in releases)


def _forgotten(paths: Paths, name: str) -> set[str]:
    return {row.sample_id for row in read_forget(paths.release(name).forget)}


def _link(paths: Paths, name: str, metrics: Metrics | None) -> ChainLink:
    """One release of the chain; this release has no registration yet, so its verdict is that of its metrics."""
    if name == BASE:
        return ChainLink(name)
    description = load_release(paths, name)
    if isinstance(metrics, ReleaseMetrics):
        verdict = "passed" if metrics.gate.passed else "failed"
    else:
        known = registration_of(paths, name)
        verdict = known.verdict if known else ""
    requests = [request.request_id for request in description.requests]
    return ChainLink(name, requests, served_method(paths, description).name, verdict)


def _digest_lines(paths: Paths, name: str, description: Release | None) -> list[DigestLine]:
    """The model and what it was made from.

    Only outputs of the stages before this one are looked up in DVC's locks: the lock still has the last run's
    entries of this stage and of those after it.
    """
    where, locks = paths.release(name), read_locks(paths)
    lines = [
        DigestLine("Weights", relative(paths, where.model / WEIGHTS), sha256_if_there(where.model / WEIGHTS)),
        DigestLine("Model settings", relative(paths, where.model / CONFIG), sha256_if_there(where.model / CONFIG)),
        DigestLine("Model folder", relative(paths, where.model), md5=locks.md5(relative(paths, where.model))),
    ]
    if description:
        parent = weights(paths, description.parent)
        lines.append(
            DigestLine(f"Parent's weights ({description.parent})", relative(paths, parent), sha256_if_there(parent))
        )
        if (gold := sha256_if_there(where.gold / WEIGHTS)) is not None:
            lines.append(DigestLine("Retrained weights", relative(paths, where.gold / WEIGHTS), gold))
        sets = locks.md5(relative(paths, where.sets))
        lines.append(DigestLine("Forget set", relative(paths, where.forget), sha256_if_there(where.forget)))
        lines.append(DigestLine("Forget and retain sets", relative(paths, where.sets), md5=sets))
        lines += [
            DigestLine(f"Request {request.request_id}", relative(paths, where.description), request.digest)
            for request in description.requests
        ]
    catalog = relative(paths, paths.catalog)
    lines.append(DigestLine("Data version", catalog, catalog_digest(paths), locks.md5(catalog)))
    for label, folder in (("Embeddings", where.embeddings), ("Search index", where.index)):
        lines.append(DigestLine(label, relative(paths, folder), md5=locks.md5(relative(paths, folder))))
    return lines


if __name__ == "__main__":
    step_main(report)
