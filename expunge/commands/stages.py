"""`expunge stages` and `expunge fold`: pipeline files in step with the library, and no longer than need be."""

from __future__ import annotations

from typing import Annotated

import typer

from expunge.commands.common import JsonOption, answer
from expunge.project.paths import Paths
from expunge.settings import load_params


def stages(as_json: JsonOption = False) -> None:
    """Bring dvc.yaml and each release's dvc.yaml in step with the library, after an upgrade or a change of its code."""
    from expunge import __version__
    from expunge.project.library import acknowledge
    from expunge.releases.stages import bring_up_to_date

    paths = Paths()
    notes: list[str] = []
    written = bring_up_to_date(paths, load_params(paths.params).catalog)
    if acknowledge(paths) and paths.library_version.is_file():
        written.append(paths.library_version)
        notes.append(f"every stage depends on expunge {__version__} now")
    if written:
        notes.append("Look next: `dvc status` lists what that makes stale, `dvc repro` rebuilds it.")
    else:
        notes.append("Every pipeline file is up to date.")
    text = "\n".join([*(f"wrote {path}" for path in written), *notes])
    answer(as_json, text, written=[str(path) for path in written])


def fold(
    keep: Annotated[int, typer.Option(min=1, help="How many of the newest releases keep their stages.")] = 10,
    as_json: JsonOption = False,
) -> None:
    """Take the stages of older releases out of the pipeline; DVC keeps what they made, and nothing makes it again."""
    from expunge.lineage.dvc.fold import fold as fold_releases
    from expunge.lineage.git import tracked_files

    paths = Paths()
    folded = fold_releases(paths, tracked_files(paths.root), keep)
    text = f"Folded: {', '.join(folded)}. Commit the changes of their folders." if folded else "Nothing to fold."
    answer(as_json, text, folded=folded)
