"""The stages of a project in their order, with what DVC's lock files say of them; DVC itself is not asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import yaml

from expunge.lineage.dvc.holders import written_now
from expunge.lineage.dvc.locks import LOCK, Locks, read_locks, relative
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, load_release

StageState = Literal["recorded", "changed", "not run", "running"]


@dataclass(frozen=True)
class StageLine:
    """One stage: its name, the stages of its group that it waits for, and whether it has run or runs."""

    name: str
    after: tuple[str, ...]
    state: StageState


@dataclass(frozen=True)
class StageGroup:
    """The stages of one dvc.yaml, in an order in which they can run; `release` is `base` for the root's."""

    release: str
    parent: str | None
    stages: tuple[StageLine, ...]


def stage_groups(paths: Paths) -> list[StageGroup]:
    """The root's stages, then those of each release of the chain.

    Raises:
        ExpungeError: a pipeline file or a lock file cannot be read.
    """
    locks = read_locks(paths)
    found = []
    for name in chain(paths):
        file = paths.pipeline if name == BASE else paths.release(name).folder / "dvc.yaml"
        if file.is_file():
            parent = None if name == BASE else load_release(paths, name).parent
            found.append(StageGroup(name, parent, _stages(paths, file, locks)))
    return found


def _stages(paths: Paths, file: Path, locks: Locks) -> tuple[StageLine, ...]:
    try:
        stages: Mapping[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8")).get("stages") or {}
        makers = {path: name for name, stage in stages.items() for path in _paths(stage.get("outs", []))}
        before = {
            name: [makers[path] for path in _paths(stage.get("deps", [])) if path in makers]
            for name, stage in stages.items()
        }
        order = [*TopologicalSorter(before).static_order()]
    except (yaml.YAMLError, UnicodeDecodeError, KeyError, TypeError, AttributeError, ValueError):
        raise ExpungeError(f"{file} is not a DVC pipeline; `expunge stages` writes it anew.") from None
    lock = relative(paths, file.with_name(LOCK))
    run = {entry.stage for entry in (*locks.outs.values(), *locks.deps) if entry.lock == lock}
    changed = {dep.stage for dep, _ in locks.disagreements(lock)}
    running = {makers[path] for path in written_now(paths) if path in makers}

    def state(name: str) -> StageState:
        if name in running:
            return "running"
        return "not run" if name not in run else ("changed" if name in changed else "recorded")

    return tuple(StageLine(name, tuple(dict.fromkeys(before[name])), state(name)) for name in order)


def running_stages(paths: Paths) -> list[tuple[str, str]]:
    """(release, stage) of what DVC runs at this moment.

    Raises:
        ExpungeError: as `stage_groups`.
    """
    if not written_now(paths):
        return []
    return [
        (group.release, one.name) for group in stage_groups(paths) for one in group.stages if one.state == "running"
    ]


def _paths(items: list[Any]) -> list[str]:
    """Paths of outputs or inputs, with or without options behind them."""
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]
