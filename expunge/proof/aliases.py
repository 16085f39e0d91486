"""What an audit asks of the record in MLflow, where anybody with the UI can move an alias."""

from __future__ import annotations

from expunge.lineage.lineage import Project
from expunge.project.paths import Paths
from expunge.proof.promotion import obstacles
from expunge.settings import Params


def misplaced_aliases(paths: Paths, params: Params) -> list[str]:
    """One sentence for each alias on a version that must not be used; empty if all is well or nothing is recorded."""
    project = Project(paths, params)
    versions = {str(version.version): version for version in project.versions}
    findings = []
    for alias, number in sorted(project.aliases.items()):
        name = versions[number].tags.get("release", "")
        known = name in project.names
        reasons = obstacles(project, name, versions[number]) if known else ["this project has no such release"]
        if reasons:
            model = project.params.mlflow.registered_model
            findings.append(f"{alias} is on {model}/{number} (release {name or 'unknown'}): {'; '.join(reasons)}.")
    return findings
