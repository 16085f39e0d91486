"""What an audit asks of the record in MLflow, where anybody with the UI can move an alias."""

from __future__ import annotations

from expunge.lineage.lineage import Project
from expunge.project.paths import Paths
from expunge.proof.promotion import newer, obstacles
from expunge.settings import Params


def misplaced_aliases(paths: Paths, params: Params) -> list[str]:
    """One sentence for each alias on a version that must not be used; empty if all is well or nothing is recorded."""
    return list(misplaced(Project(paths, params)).values())


def misplaced(project: Project) -> dict[str, str]:
    """Alias → what is wrong with where it stands."""
    versions = {str(version.version): version for version in project.versions}
    findings = {}
    for alias, number in sorted(project.aliases.items()):
        name = versions[number].tags.get("release", "") if number in versions else ""
        if name in project.names:
            reasons = obstacles(project, name, versions[number])
        else:
            reasons = ["this project has no such release"]
        if reasons:
            model = project.params.mlflow.registered_model
            findings[alias] = f"{alias} is on {model}/{number} (release {name or 'unknown'}): {'; '.join(reasons)}."
    return findings


def left_behind(project: Project) -> dict[str, str]:
    """Alias → the later release that has forgotten more: what it forgot is still in the model that the alias is on."""
    versions = {str(version.version): version for version in project.versions}
    names = {alias: versions[number].tags.get("release", "") for alias, number in project.aliases.items()}
    return {
        alias: f"{alias} is still on release {name}: {'; '.join(newer(project, name))}."
        for alias, name in sorted(names.items())
        if name in project.names and newer(project, name)
    }
