"""Whether everything that a decision rests on is what it was: from the ledger's first event to MLflow's aliases.

`verify` asks one certificate; this asks the project. What no check here covers is listed in every certificate.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from expunge.lineage.account import Comparison
from expunge.lineage.checks import ABSENT, compare, digest_checks, problem
from expunge.lineage.dvc.locks import relative
from expunge.lineage.lineage import Project
from expunge.near_duplicates.suppression import keeps_out
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.proof.aliases import changed_by_hand, left_behind, misplaced
from expunge.proof.coverage import is_tombstone
from expunge.proof.locked import lock_checks
from expunge.proof.signing import signing_key
from expunge.proof.verify import Verification, verify
from expunge.releases.chain import chain, has_passed, is_finished, is_purged, live_release
from expunge.requests.events import Event
from expunge.requests.ledger import Ledger
from expunge.selection.sets import read_forget
from expunge.settings import Params


@dataclass(frozen=True)
class ProjectVerification:
    """The outcome for a project.

    Attributes:
        releases: one outcome for each release whose files are here.
        checks: those that concern no single release.
    """

    releases: tuple[Verification, ...]
    checks: tuple[Comparison, ...]

    @property
    def every(self) -> list[Comparison]:
        return [*self.checks, *(check for release in self.releases for check in release.checks)]

    @property
    def problems(self) -> list[Comparison]:
        return [check for check in self.every if check.state == "mismatch"]

    @property
    def changes(self) -> list[Comparison]:
        """What people may edit and did, since the newest release was certified."""
        return [check for check in self.every if check.state == "changed"]


def verify_project(paths: Paths, params: Params, key_file: Path | None = None) -> ProjectVerification:
    """Check the ledger, what must not come back, every release, the pipeline's text, DVC's locks and MLflow's aliases.

    Raises:
        ExpungeError: there is no public key.
    """
    try:
        names = chain(paths)
    except ExpungeError as error:
        return ProjectVerification((), (problem("chain of releases", relative(paths, paths.live), str(error)),))
    checks = _live_checks(paths)
    found = []
    for name in names:
        if is_purged(paths, name) or not is_finished(paths, name):
            checks += _unregistered_checks(paths, name)
            continue
        try:
            found.append(verify(paths, params, name, key_file))
        except ExpungeError as error:
            where = relative(paths, paths.release(name).certificate)
            checks.append(problem("certificate", where, str(error)))
    ledger = _guarded("ledger", params.ledger.url, lambda: _ledger_checks(paths, params, found))
    listed = relative(paths, paths.suppression)
    checks += ledger
    checks += _guarded("suppression list", listed, lambda: suppression_checks(paths))
    checks += _guarded("signing key", params.certificate.private_key, lambda: _key_checks(paths, params))
    checks += _pipeline_checks(Project(paths, params), found)
    checks += lock_checks(paths)
    checks += _guarded("aliases", "MLflow", lambda: _alias_checks(paths, params))
    checks += _guarded("purged releases", "MLflow", lambda: _purged_checks(paths, params, names))
    return ProjectVerification(tuple(found), tuple(checks))


def _guarded(what: str, where: str, ask: Callable[[], list[Comparison]]) -> list[Comparison]:
    """What cannot be asked is a finding, and the other checks go on."""
    try:
        return ask()
    except ExpungeError as error:
        return [problem(what, where, str(error))]


def _live_checks(paths: Paths) -> list[Comparison]:
    expected = yaml.safe_dump({"live": live_release(paths)})
    found = paths.live.read_text(encoding="utf-8") if paths.live.is_file() else None
    # A file that people may write by hand: the name must be right, its spelling may be another.
    check = compare("newest release", relative(paths, paths.live), expected, found)
    return [check.model_copy(update={"state": "changed"}) if check.state == "mismatch" else check]


def _unregistered_checks(paths: Paths, name: str) -> list[Comparison]:
    where = paths.release(name)
    if is_purged(paths, name) or name == BASE:
        return []
    reason = "it is not finished; `expunge release` finishes it"
    return [problem("release of the chain", relative(paths, where.registration), reason)]


def _ledger_checks(paths: Paths, params: Params, releases: Iterable[Verification]) -> list[Comparison]:
    ledger = Ledger.open(params.ledger, paths.root)
    head = ledger.verify_chain()
    checks = [compare("ledger", params.ledger.url, head.hash, head.hash)]
    checks += [
        compare(
            f"ledger sealed again by {one.by} at {one.at}", f"event {one.seq}", "events up to it are unproven", None
        )
        for one in head.sealings
    ]
    events: dict[int, Event] = {event.seq: event for event in ledger.events()}
    anchors = [
        (f"certificate of {release.release}", release.statement["predicate"].get("ledger"))
        for release in releases
        if release.statement
    ]
    for version in Project(paths, params).versions:
        if ":" in (tag := version.tags.get("ledger", "")):
            seq, _, digest = tag.partition(":")
            number = int(seq) if seq.isdecimal() else -1
            anchors.append((f"MLflow version {version.version}", {"seq": number, "hash": digest}))
    for named_by, anchor in anchors:
        if anchor:
            event = events.get(anchor["seq"])
            where = f"ledger, event {anchor['seq']}"
            checks.append(
                compare(f"event named by the {named_by}", where, anchor["hash"], event.hash if event else ABSENT)
            )
    return checks


def suppression_checks(paths: Paths) -> list[Comparison]:
    """Whether the list is whole, and knows what every release of the chain that passed its gate forgot.

    Raises:
        ExpungeError: it is gone, damaged or not the one that was written last.
    """
    where = relative(paths, paths.suppression)
    forgotten: set[str] = set()
    for name in chain(paths):
        release = paths.release(name)
        whole = name != BASE and release.registration.is_file() and release.forget.is_file()
        if whole and has_passed(paths, name):
            forgotten |= {row.sample_id for row in read_forget(release.forget)}
    missing = keeps_out(paths, forgotten) if forgotten or paths.suppression.exists() else []
    if missing:
        return [problem("suppression list", where, f"{len(missing)} forgotten samples are not on it")]
    return [compare("suppression list", where, "whole", "whole")]


def _key_checks(paths: Paths, params: Params) -> list[Comparison]:
    """A private key that is here belongs to the public one; it may be kept elsewhere."""
    where = params.certificate.private_key
    if not (paths.root / where).is_file():
        return []
    key = signing_key(paths, params.certificate).public_key.keyid
    return [compare("signing key", where, key, key)]


def _pipeline_checks(project: Project, releases: Iterable[Verification]) -> list[Comparison]:
    """The pipeline's text against the newest certificate. People edit it; what they changed is named, and no fault."""
    certified = [release.statement for release in releases if release.statement]
    checks = []
    for resource in certified[-1]["predicate"].get("pipeline", []) if certified else []:
        path = project.paths.root / resource["name"]
        found = project.sha256(path) or ABSENT
        check = compare("pipeline", resource["name"], resource["digest"]["sha256"], found)
        if check.state == "mismatch" and not is_tombstone(resource["name"]):
            check = check.model_copy(update={"state": "changed"})
        checks.append(check)
    return checks


def _alias_checks(paths: Paths, params: Params) -> list[Comparison]:
    project = Project(paths, params)
    wrong = [problem("alias", "MLflow", reason) for reason in misplaced(project).values()]
    late = [
        problem("alias", "MLflow", reason).model_copy(update={"state": "changed"})
        for reason in left_behind(project).values()
    ]
    registry = f"MLflow, {params.mlflow.registered_model}"
    late += [
        problem("registry", registry, reason).model_copy(update={"state": "changed"})
        for reason in changed_by_hand(project)
    ]
    return [*wrong, *late] or [compare("aliases", "MLflow", "sound", "sound")]


def _purged_checks(paths: Paths, params: Params, names: list[str]) -> list[Comparison]:
    project = Project(paths, params)
    return [
        check
        for name in names
        if is_purged(paths, name)
        for check in digest_checks(project, name)
        if check.what.startswith("MLflow tag")
    ]
