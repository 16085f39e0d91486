"""Aliases in MLflow on versions that must not be used, or left behind by a release that forgets more."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial

from expunge.lineage.lineage import Project, RecordedProject
from expunge.lineage.mlflow.recorder import CANDIDATE
from expunge.proof.aliases import left_behind, misplaced
from expunge.proof.promotion import obstacles
from expunge.repair.state import BlockingState, Site


def alias_state(site: Site) -> Iterator[BlockingState]:
    """`candidate` can be computed and is moved; any other alias is a person's choice and is taken away."""
    project = (Project if site.proves else RecordedProject)(site.paths, site.params)
    wrong = misplaced(project, site.proves)
    for alias, problem in wrong.items():
        target = _newest(project) if alias == CANDIDATE else None
        remedy = (
            f"move it to release {target[0]}" if target else "take it away; `expunge promote` sets `champion` again"
        )
        yield BlockingState(f"alias {alias}", problem, remedy, mend=partial(_mend, project, alias, target))
    for alias, problem in left_behind(project).items():
        if (target := _newest(project)) and alias not in wrong:
            command = f"expunge promote {target[0]} --by NAME"
            yield BlockingState(f"alias {alias}", problem, f"decide on {target[0]}", command, severity="warning")


def _newest(project: Project) -> tuple[str, str] | None:
    """Name and version of the newest release that may carry an alias."""
    for name in reversed(project.names):
        version = project.current_version(name)
        if version is not None and not obstacles(project, name, version):
            return name, str(version.version)
    return None


def _mend(project: Project, alias: str, target: tuple[str, str] | None, by: str) -> str:
    store = project.record
    if target is None:
        store.client.delete_registered_model_alias(store.model, alias)
        return f"The alias {alias} is gone."
    store.client.set_registered_model_alias(store.model, alias, target[1])
    return f"The alias {alias} is on release {target[0]}."
