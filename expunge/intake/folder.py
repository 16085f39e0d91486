"""The drop folder: each file becomes requests and a receipt, or a refusal with its reason; none holds up the others.

Whoever may drop a file may also drop a file called `done`, or a link in its place. So what stands where the folder
keeps its own things and is not what was put there is moved aside, as it is, and never followed.
"""

from __future__ import annotations

import os
import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock

from expunge.intake.submissions import SUFFIXES, Check, read_submissions, receive
from expunge.project.errors import ExpungeError, RequestRefused
from expunge.project.files import digest_of, write_bytes, write_json
from expunge.requests.ledger import Ledger

LOCK = ".import.lock"
DONE, REFUSED = "done", "refused"
MAX_NAME = 150
"""Bytes of a file's name that its receipt repeats: file systems allow 255."""


@dataclass(frozen=True)
class Outcome:
    """What became of a file.

    Attributes:
        file: its name, as a terminal can show it.
        requests: ids of its requests; empty where it was refused.
        reason: why it was refused.
    """

    file: str
    requests: tuple[str, ...] = ()
    reason: str | None = None


def import_path(path: Path, ledger: Ledger, check: Check, by: str | None = None) -> Iterator[Outcome]:
    """Import a file, or all JSON and CSV files of a folder in the order of their names.

    A file that was recorded gives way to a receipt in `done/` beside it, which names no requester; one that is refused
    gives way to the reason in `refused/`, with its keyed digest, for it may hold names and addresses: the sender has it
    still. If the process dies in between, the file is still there, and the next import finds its references known and
    completes it. Hidden files are left alone, so that a sender can write under a hidden name and rename.

    Raises:
        ExpungeError: there is no such file or folder, or the ledger is in trouble; files not reported yet stay.
    """
    if not path.is_dir() and not _is_importable(path):
        raise ExpungeError(f"{path} is neither a folder nor a JSON or CSV file.")
    folder = path if path.is_dir() else path.parent
    lock = folder / LOCK
    if lock.is_symlink() or (lock.exists() and not lock.is_file()):
        _move_aside(lock)
    with FileLock(lock):
        for name in (DONE, REFUSED):
            _own_folder(folder / name)
        for file in sorted(folder.iterdir()) if path.is_dir() else [path]:
            if _is_importable(file):
                yield _import_file(file, ledger, check, by)


def _is_importable(path: Path) -> bool:
    # A link could lead out of the drop folder.
    plain = path.is_file() and not path.is_symlink()
    return plain and path.suffix.lower() in SUFFIXES and not path.name.startswith(".")


def _own_folder(folder: Path) -> None:
    if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
        _move_aside(folder)
    folder.mkdir(exist_ok=True)


def _move_aside(path: Path) -> None:
    path.rename(path.with_name(f".{path.name.lstrip('.')}.aside-{secrets.token_hex(4)}"))


def _import_file(file: Path, ledger: Ledger, check: Check, by: str | None) -> Outcome:
    shown = re.sub(r"[^\w .()+-]", "?", file.name)
    try:
        requests = receive(read_submissions(file), ledger, check, by)
    except OSError as error:
        return Outcome(shown, reason=f"The file cannot be read ({error.strerror}); it stays where it is.")
    except RequestRefused as error:
        _refuse(file, str(error), ledger)
        return Outcome(shown, reason=str(error))
    receipt = [request.model_dump(mode="json") for request in requests]
    # Named by its content: a second receipt for the same file is the same one.
    write_json(file.parent / DONE / f"{_start(file.name)}.{digest_of(receipt)[:8]}.json", receipt)
    file.unlink()
    return Outcome(shown, tuple(request.request_id for request in requests))


def _refuse(file: Path, reason: str, ledger: Ledger) -> None:
    digest = ledger.digest_file(file)
    text = (
        f"{reason}\nNothing was recorded. The file is not kept, for it may hold personal data; its keyed digest is\n"
        f"{digest}. Mend it where it came from and hand it in again.\n"
    )
    write_bytes(file.parent / REFUSED / f"{_start(file.name)}.{digest[:8]}.reason.txt", text.encode())
    file.unlink()


def _start(name: str) -> str:
    return os.fsencode(name)[:MAX_NAME].decode("utf-8", errors="ignore")
