"""Secrets of this machine: files that only their owner can read, made once."""

from __future__ import annotations

import contextlib
import os
import secrets
import string
import tempfile
from pathlib import Path


def kept_secret(path: Path) -> str:
    """The secret in the file `path`, without white space around it; a missing one is made (256 bits, mode 0600).

    It appears complete or not at all and never replaces another process's: a hard link does both.

    Raises:
        OSError: the file can be neither read nor created.
    """
    if not path.exists():
        path.parent.mkdir(parents=True, exist_ok=True)
        # mkstemp creates the file with mode 0600, which the link shares.
        handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
        try:
            with os.fdopen(handle, "w") as stream:
                stream.write(secrets.token_hex(32) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            with contextlib.suppress(FileExistsError):
                os.link(partial, path)
        finally:
            os.unlink(partial)
    return path.read_text(encoding="utf-8", errors="surrogateescape").strip(string.whitespace)
