"""Who may carry an alias in MLflow: `candidate` comes from the gate, `champion` from a person, neither to a model that
must not be used.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING

from expunge.lineage.lineage import Project
from expunge.lineage.mlflow.recorder import appoint_champion
from expunge.project.clock import iso_seconds
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.proof.purged import purge_state
from expunge.requests.request import one_line
from expunge.settings import Params

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion

REVOKED = "revoked"
"""A version with this tag must not be used any more, whatever its gate said; its value says why."""


def promote(paths: Paths, params: Params, name: str, by: str) -> str:
    """Make the release `name` champion in the name of the person `by`; return its version number.

    Raises:
        ExpungeError: it must not be used, it is not recorded in MLflow, a later release forgets more, or nobody is
            named.
    """
    if not by.strip():
        raise ExpungeError("A champion is chosen by a person; name them with --by.")
    one_line(by, "The name of who decides")
    project = Project(paths, params)
    if name not in project.names:
        raise ExpungeError(f"There is no release {name}; known releases: {', '.join(project.names)}.")
    version = project.current_version(name)
    if version is None:
        raise ExpungeError(f"Release {name} is not recorded in MLflow; run `dvc repro` first.")
    if reasons := [*obstacles(project, name, version), *newer(project, name)]:
        raise ExpungeError(f"Release {name} cannot be champion: {'; '.join(reasons)}.")
    appoint_champion(paths, params.mlflow, str(version.version), by.strip(), iso_seconds(datetime.now(UTC)))
    return str(version.version)


def obstacles(project: Project, name: str, version: ModelVersion, proves: bool = True) -> list[str]:
    """Why this version of release `name` may carry no alias, one clause each; empty if it may.

    What is recorded is always asked, and whether the release verifies only if it `proves`.
    """
    reasons = []
    if not project.has_passed(name) or version.tags.get("verdict") != "passed":
        verdict = version.tags.get("verdict", "unknown")
        reasons.append("it failed its gate" if verdict == "failed" else f"no gate passed it (verdict: {verdict})")
    if REVOKED in version.tags:
        reasons.append("it was revoked")
    if successor := version.tags.get("superseded_by"):
        reasons.append(f"version {successor} replaced it")
    for purged in (name, *project.ancestors(name)):
        if not purge_state(project.paths, purged).get("clean", True):
            reasons.append(f"the purge of {purged} is not clean")
    return reasons + (_unproven(project, name) if proves else [])


def _unproven(project: Project, name: str) -> list[str]:
    # `expunge status` goes by what is recorded, and starts quicker without what reads and checks signatures.
    from expunge.proof.verify import verify

    try:
        problems = verify(project.paths, project.params, name).problems
    except ExpungeError as error:
        return [f"it cannot be verified ({str(error).rstrip('.')})"]
    return [f"`expunge verify {name}` fails at {problems[0].where}"] if problems else []


def newer(project: Project, name: str) -> list[str]:
    """A later release that passed its gate forgets more; going back would bring that content back."""
    later = project.names[project.names.index(name) + 1 :]
    passed = [other for other in later if project.has_passed(other)]
    return [f"{passed[-1]} has forgotten more since"] if passed else []
