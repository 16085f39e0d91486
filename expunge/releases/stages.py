"""The pipeline files of a project: which there are, and what they should say for the library that is here."""

from __future__ import annotations

from pathlib import Path

import yaml

from expunge.corpus.settings import CatalogParams
from expunge.pipeline.stages import release_stages, root_stages
from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import is_purged, load_release
from expunge.releases.release import Release

OURS = "python -m expunge.steps."
"""How the command of every stage of the library begins."""


def stages_text(paths: Paths, release: Release) -> str:
    """The text of a release's `dvc.yaml`.

    Raises:
        ExpungeError: the method has no file among the library's sources in the project.
    """
    return release_stages(
        paths,
        release.release,
        release.parent,
        release.method.name,
        release.gold,
        [choice.name for choice in release.fallbacks],
    )


def outdated(paths: Paths, corpus: CatalogParams) -> dict[Path, str]:
    """Pipeline files that should say something else, each with what it should say.

    A release that a purge has turned into data has no stages, so its file stays as it is.

    Args:
        corpus: the block `catalog` of params.yaml.

    Raises:
        ExpungeError: a description or a pipeline file cannot be read, or holds stages that are not the library's.
    """
    texts = {paths.pipeline: root_stages(paths, corpus, purged=is_purged(paths, BASE))}
    for description in sorted(paths.live.parent.glob("*/release.yaml")):
        where = paths.release(description.parent.name)
        if not where.outputs.is_file() and not where.tombstone.is_file():
            texts[where.pipeline] = stages_text(paths, load_release(paths, where.name))
    return {path: text for path, text in texts.items() if _written(path) != text}


def bring_up_to_date(paths: Paths, corpus: CatalogParams) -> list[Path]:
    """Write the pipeline files that should say something else; returns them.

    Raises:
        ExpungeError: as `outdated`; then nothing is written.
    """
    texts = outdated(paths, corpus)
    for path, text in texts.items():
        write_bytes(path, text.encode())
    return list(texts)


def _written(path: Path) -> str | None:
    """What a pipeline file says, None where there is none.

    Raises:
        ExpungeError: it is not YAML, or holds stages that are not the library's and would be lost.
    """
    if not path.is_file():
        return None
    text = path.read_text(encoding="utf-8")
    try:
        stages = (yaml.safe_load(text) or {}).get("stages") or {}
        strange = [name for name, stage in stages.items() if not str(stage.get("cmd")).startswith(OURS)]
    except (yaml.YAMLError, AttributeError):
        raise ExpungeError(f"{path} is not a DVC pipeline; restore it from git.") from None
    if strange:
        raise ExpungeError(
            f"{path} holds stages of your own ({', '.join(strange)}); move them to a dvc.yaml in a folder of their own."
        )
    return text
