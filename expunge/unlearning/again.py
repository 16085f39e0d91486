"""The unlearning of a release once more, beside it: for a replay, and for methods that no release was served by.

The very step of the pipeline runs in an empty folder that links what it reads, so nothing of the project can change,
and a model that may not have forgotten is gone with the folder.
"""

from __future__ import annotations

import contextlib
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from expunge.models.clip import WEIGHTS
from expunge.models.precision import settled
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.releases.chain import load_release
from expunge.releases.release import MethodChoice
from expunge.settings import Params
from expunge.unlearning.release import unlearn_release


@contextmanager
def unlearned_again(paths: Paths, params: Params, name: str, method: MethodChoice) -> Iterator[Paths]:
    """A folder, gone afterwards, in which release `name` has the model that `method` makes of its parent's.

    Raises:
        ExpungeError: the parent's model is gone, or the method is unknown or fails.
    """
    parent = load_release(paths, name).parent
    if not (paths.release(parent).model / WEIGHTS).is_file():
        raise ExpungeError(
            f"{paths.release(parent).model / WEIGHTS} is gone, perhaps purged; without it {name} cannot be made again."
        )
    with tempfile.TemporaryDirectory(prefix="expunge-again-") as folder:
        again = Paths(Path(folder))
        _link(paths, again, name, parent)
        with contextlib.redirect_stdout(sys.stderr):
            unlearn_release(again, settled(paths, params), name, method)
        yield again


def _link(paths: Paths, again: Paths, name: str, parent: str) -> None:
    """Lay links to what the step reads where it looks for it."""
    pairs = [(paths.catalog, again.catalog), (paths.release(name).sets, again.release(name).sets)]
    pairs += [(paths.release(parent).model, again.release(parent).model), (paths.live.parent, again.live.parent)]
    pairs.append((paths.release(parent).embeddings, again.release(parent).embeddings))
    for real, link in pairs:
        link.parent.mkdir(parents=True, exist_ok=True)
        link.symlink_to(real.resolve(), target_is_directory=True)
