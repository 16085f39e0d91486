"""The stages of a project in their order, with what DVC's lock files say of them; DVC itself is not asked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from graphlib import TopologicalSorter
from pathlib import Path
from typing import Any, Literal

import yaml

from expunge.lineage.dvc.locks import LOCK, Locks, read_locks, relative
from expunge.project.errors import ExpungeError
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, load_release

StageState = Literal["recorded", "changed", "not run"]


@dataclass(frozen=True)
class StageLine:
    """One stage: its name, the stages of its group that it waits for, and whether it has run."""

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
        stages: Mapping[str, Any] = yaml.safe_load(file.read_text(encoding="utf-8"))["stages"]
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
    return tuple(
        StageLine(
            name,
            tuple(dict.fromkeys(before[name])),
            "not run" if name not in run else ("changed" if name in changed else "recorded"),
        )
        for name in order
    )


def _paths(items: list[Any]) -> list[str]:
    """Paths of outputs or inputs, with or without options behind them."""
    return [next(iter(item)) if isinstance(item, dict) else item for item in items]
