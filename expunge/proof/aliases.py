"""What an audit asks of the record in MLflow, where anybody with the UI can move an alias."""

from __future__ import annotations

from expunge.lineage.lineage import Project
from expunge.lineage.mlflow.recorder import CANDIDATE, CHAMPION
from expunge.lineage.mlflow.store import ABOUT_MODEL, is_there
from expunge.project.paths import Paths
from expunge.proof.promotion import newer, obstacles
from expunge.settings import Params


def misplaced_aliases(paths: Paths, params: Params) -> list[str]:
    """One sentence for each alias on a version that must not be used; empty if all is well or nothing is recorded."""
    return list(misplaced(Project(paths, params)).values())


def misplaced(project: Project, proves: bool = True) -> dict[str, str]:
    """Alias → what is wrong with where it stands; files are verified only if it `proves`."""
    versions = {str(version.version): version for version in project.versions}
    findings = {}
    for alias, number in sorted(project.aliases.items()):
        name = versions[number].tags.get("release", "") if number in versions else ""
        if name in project.names:
            reasons = obstacles(project, name, versions[number], proves)
        else:
            reasons = ["this project has no such release"]
        if reasons:
            model = project.params.mlflow.registered_model
            findings[alias] = f"{alias} is on {model}/{number} (release {name or 'unknown'}): {'; '.join(reasons)}."
    return findings


def changed_by_hand(project: Project) -> list[str]:
    """What somebody has changed in MLflow's registry and may: one sentence each.

    A clone has releases that its MLflow never heard of, so a missing version is not a fault either.
    """
    found: list[str] = []
    passed = [name for name in project.names if project.has_passed(name)]
    if project.store is None:
        params = project.params.mlflow
        lost = f"there is no experiment {params.experiment} with a registered model {params.registered_model}"
        return [lost] if is_there(project.paths, params) else []
    missing = [name for name in project.names if project.registration(name) and not project.current_version(name)]
    found += [f"there is no version of release {name}" for name in missing]
    if passed and passed[-1] not in missing and CANDIDATE not in project.aliases:
        found.append(f"no version has the alias {CANDIDATE}, which belongs to release {passed[-1]}")
    promoted = [version for version in project.versions if "promoted_by" in version.tags]
    if promoted and CHAMPION not in project.aliases:
        found.append(f"version {promoted[-1].version} was promoted, and no version has the alias {CHAMPION}")
    if project.store.description != ABOUT_MODEL:
        found.append("the registered model has another description")
    return found


def left_behind(project: Project) -> dict[str, str]:
    """Alias → the later release that has forgotten more: what it forgot is still in the model that the alias is on."""
    versions = {str(version.version): version for version in project.versions}
    placed = {alias: versions[number] for alias, number in project.aliases.items() if number in versions}
    names = {alias: version.tags.get("release", "") for alias, version in placed.items()}
    return {
        alias: f"{alias} is still on release {name}: {'; '.join(newer(project, name))}."
        for alias, name in sorted(names.items())
        if name in project.names and newer(project, name)
    }
