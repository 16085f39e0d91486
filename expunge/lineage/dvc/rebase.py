"""Let the chain of DVC stages begin at a release: what came before it can never be built again.

Three things of DVC's own make that hold. Stages whose inputs or outputs are purged are *removed* (`dvc remove`). The
outputs of the releases that stay become *data without a command*, in one `.dvc` file per release: nothing can make DVC
rebuild them, later stages depend on them by path as before, and they are cached, checked, pushed and fetched. (Frozen
stages would do the first, but `dvc repro` warns of each every time, and small outputs that are not cached would be
lost to the next clone.) The stage `catalog`, which could run and would bring the rows back, is *frozen* (`dvc freeze`),
which holds against `--force` too.
"""

from __future__ import annotations

import shutil
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from expunge.lineage.dvc.locks import LOCK, OUTPUTS, read_locks, recorded_outputs, relative
from expunge.lineage.dvc.objects import opened
from expunge.project.documents import content_of
from expunge.project.files import atomic_path, write_bytes, write_json
from expunge.project.paths import Paths
from expunge.releases.registration import registration_of

if TYPE_CHECKING:
    from dvc.repo import Repo

PIPELINE = "dvc.yaml"


def pipeline_files(paths: Paths) -> list[Path]:
    """The files in which DVC's stages, their locks and data without a command are written."""
    names = (PIPELINE, LOCK, OUTPUTS)
    return [
        paths.root / PIPELINE,
        paths.root / LOCK,
        *(path for name in names for path in paths.live.parent.glob(f"*/{name}")),
    ]


def rebase(paths: Paths, gone: Sequence[str], kept: Sequence[str], at: str, tracked: Collection[Path] = ()) -> None:
    """Remove the releases `gone` from the pipeline, turn the outputs of the releases `kept` into data, and commit.

    Every part may be done twice. Nothing is deleted but stages: the files are still where they were.

    Args:
        at: when the purge began, as the tombstones say it.
        tracked: whole paths of the files that git keeps.
    """
    for name in gone:
        _bury(paths, name, kept[0], at)
    for name in kept:
        keep_as_data(paths, name, tracked)
    with opened(paths) as repo:
        _retire_root_stages(paths, repo, gone)
    # A second opening: DVC has read its files already in the first.
    with opened(paths) as repo:
        repo.commit("catalog", force=True)
        for name in kept:
            repo.commit(relative(paths, paths.release(name).outputs), force=True)


def keep_also(paths: Paths, name: str, path: str) -> None:
    """Add a file to the outputs that DVC keeps of a release whose stages are gone; one that it keeps is renewed."""
    outputs = paths.release(name).outputs
    content = yaml.safe_load(outputs.read_text(encoding="utf-8"))
    if path not in [out["path"] for out in content["outs"]]:
        content["outs"].append({"path": path})
        write_bytes(outputs, yaml.safe_dump(content, sort_keys=False).encode())
    with opened(paths) as repo:
        repo.commit(relative(paths, outputs), force=True)


def folders_of(paths: Paths, name: str) -> list[Path]:
    """Everything that the stages of a release wrote, its reports included."""
    where = paths.release(name)
    return [where.model, where.gold, where.sets, where.embeddings, where.index, where.reports]


def outputs_of(paths: Paths, name: str) -> list[str]:
    """Paths of what DVC keeps of a release, relative to the root."""
    where = paths.release(name)
    files = {relative(paths, path) for path in (where.folder / LOCK, where.outputs)}
    return sorted(entry.path for entry in read_locks(paths).outs.values() if entry.lock in files)


def _bury(paths: Paths, name: str, by: str, at: str) -> None:
    where = paths.release(name)
    if not where.tombstone.is_file():
        registration = registration_of(paths, name)
        buried = content_of(registration) if registration else None
        facts = {"release": name, "purged_by": by, "at": at, "registration": buried}
        write_json(where.tombstone, facts)
    for path in (where.folder / PIPELINE, where.folder / LOCK, where.outputs):
        path.unlink(missing_ok=True)


def keep_as_data(paths: Paths, name: str, tracked: Collection[Path]) -> None:
    """Turn what the stages of a release wrote into data without a command, with the digests that DVC recorded.

    No file is read: what was changed meanwhile still differs from its record. Killed half-way, it may be done again.
    """
    where = paths.release(name)
    lock, pipeline = where.folder / LOCK, where.folder / PIPELINE
    if not lock.is_file():
        return
    outs = sorted(recorded_outputs(lock), key=lambda out: str(out["path"]))
    for out in outs:
        if (paths.root / out["path"]).resolve() in tracked:
            out["cache"] = False  # git keeps it, and DVC refuses to keep what git does
    # The stages go first: DVC accepts no file that both a stage and a record without a command name.
    content = yaml.safe_load(pipeline.read_text(encoding="utf-8"))
    content.pop("stages", None)
    write_bytes(pipeline, yaml.safe_dump(content, sort_keys=False).encode())
    write_bytes(where.outputs, yaml.safe_dump({"wdir": "../..", "outs": outs}, sort_keys=False).encode())
    lock.unlink()


def _retire_root_stages(paths: Paths, repo: Repo, gone: Sequence[str]) -> None:
    removed = [relative(paths, folder) for name in gone for folder in folders_of(paths, name)]

    def is_gone(path: Any) -> bool:
        return any(str(path) == folder or str(path).startswith(f"{folder}/") for folder in removed)

    for stage in list(repo.index.stages):
        if stage.path_in_repo != PIPELINE:
            continue
        # A frozen catalog asks its source no more.
        if stage.name == "source" or any(is_gone(item.def_path) for item in (*stage.deps, *stage.outs)):
            repo.remove(stage.name)
    _freeze_catalog(paths.root / PIPELINE, is_gone)


def _freeze_catalog(pipeline: Path, is_gone: Any) -> None:
    """Freeze the stage `catalog` and drop metrics and plots of what is gone; the comments of the file stay.

    `dvc freeze` writes the same line, but refuses a stage in which DVC fills in a setting, here the source's file.
    """
    from dvc.utils.serialize import modify_yaml

    with atomic_path(pipeline) as partial:
        shutil.copyfile(pipeline, partial)
        with modify_yaml(str(partial)) as content:
            if "catalog" in content.get("stages", {}):
                content["stages"]["catalog"]["frozen"] = True
            for key in ("metrics", "plots"):
                if key in content:
                    content[key] = [path for path in content[key] if not is_gone(path)]
                    if not content[key]:
                        del content[key]
