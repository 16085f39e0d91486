"""Models that were trained elsewhere: the finished one, and gold standards that a command of its owner trains."""

from __future__ import annotations

import shlex
import shutil
import subprocess
from collections.abc import Iterable
from pathlib import Path

from expunge.models.settings import ExternalParams
from expunge.models.weights import IN_FOLDERS
from expunge.project.errors import ExpungeError
from expunge.project.files import digest_of, write_bytes

KINDS = ("*.safetensors", "*.pt", "*.bin")


def retrained_elsewhere(external: ExternalParams, ids: Iterable[str], seed: int, root: Path) -> Path:
    """Run the owner's command for a model trained on `ids` and return the checkpoint that it left.

    Its folder under `root` is named by command, ids and seed, and is there again when a killed command is started once
    more, so that it may go on where it was.

    Raises:
        ExpungeError: there is no command, it cannot be started or fails, or it leaves no checkpoint.
    """
    if external.retrain is None:
        raise ExpungeError(
            "A gold standard of a model that was trained elsewhere needs the command train.external.retrain; or set "
            "release.gold to false and leave `retrain` out of release.methods."
        )
    listed = sorted(ids)
    folder = root / f"retrain-{digest_of([external.retrain, listed, seed])[:32]}"
    names, out = folder / "ids.txt", folder / "out"
    write_bytes(names, "".join(f"{sample_id}\n" for sample_id in listed).encode())
    out.mkdir(exist_ok=True)
    given = {"{ids}": str(names.resolve()), "{out}": str(out.resolve()), "{seed}": str(seed)}
    command = [_filled(word, given) for word in shlex.split(external.retrain)]
    try:
        code = subprocess.run(command, check=False).returncode
    except OSError as error:
        raise ExpungeError(f"train.external.retrain cannot be started: {command[0]}: {error.strerror}.") from None
    if code:
        raise ExpungeError(f"train.external.retrain ended with status {code}; what it printed says why.")
    return checkpoint_in(out)


def finished(checkpoint: Path) -> None:
    """Remove the folder of a command whose checkpoint has been read."""
    folder = checkpoint if checkpoint.name == "out" else checkpoint.parent
    shutil.rmtree(folder.parent)


def checkpoint_in(folder: Path) -> Path:
    """The checkpoint that lies in a folder: the folder itself where it is a model's, else its newest file of weights.

    Raises:
        ExpungeError: there is none.
    """
    if any((folder / name).is_file() for name in IN_FOLDERS):
        return folder
    found = [path for kind in KINDS for path in folder.glob(kind)]
    if not found:
        raise ExpungeError(f"train.external.retrain left no checkpoint ({', '.join(KINDS)}) in {{out}}, {folder}.")
    return max(found, key=lambda path: (path.stat().st_mtime_ns, path.name))


def _filled(word: str, given: dict[str, str]) -> str:
    for slot, value in given.items():
        word = word.replace(slot, value)
    return word
