"""Releases that nothing builds again leave the pipeline: their outputs become data without a command.

DVC reads every stage of a project and looks at each of its inputs, settings and outputs whenever it is asked anything,
so `dvc repro` with nothing to do would take longer with every release. What a served release was made from can no
longer change: its successors were built on it. DVC still keeps, checks, pushes and fetches its outputs; only their
command is gone, as it is after a purge.
"""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

import yaml

from expunge.lineage.dvc.locks import LOCK
from expunge.lineage.dvc.rebase import keep_as_data
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, has_passed, is_finished, is_purged, load_release
from expunge.releases.stages import stages_text

KEPT = 10
"""The newest releases, which keep their stages where nobody says otherwise."""


def fold(paths: Paths, tracked: Collection[Path], keep: int = KEPT) -> list[str]:
    """Fold all but the `keep` newest releases of the chain, oldest first; returns those that were folded now.

    Args:
        tracked: whole paths of the files that git keeps.

    Raises:
        ExpungeError: a lock file cannot be read.
    """
    older = [name for name in chain(paths) if name != BASE][:-keep]
    todo = [name for name in older if _has_stages(paths, name)]
    for name in todo:
        keep_as_data(paths, name, {*tracked, *_left_to_git(paths, name)})
    return todo


def _left_to_git(paths: Paths, name: str) -> set[Path]:
    """Outputs that the stages of a release had DVC not keep, as whole paths."""
    # Not from its file, which a fold that was killed has emptied already.
    stages = yaml.safe_load(stages_text(paths, load_release(paths, name)))["stages"]
    outs = [out for stage in stages.values() for out in stage.get("outs", []) if isinstance(out, dict)]
    left = [path for out in outs for path, said in out.items() if said.get("cache") is False]
    return {(paths.root / path).resolve() for path in left}


def _has_stages(paths: Paths, name: str) -> bool:
    ran = not is_purged(paths, name) and is_finished(paths, name) and has_passed(paths, name)
    return ran and (paths.release(name).folder / LOCK).is_file()
