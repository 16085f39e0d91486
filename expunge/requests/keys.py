"""Keyed digests: what stands in files instead of personal data, and the secret behind it."""

from __future__ import annotations

import contextlib
import hmac
import os
import secrets
import tempfile
import unicodedata
from pathlib import Path

from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths

KEY_VARIABLE = "EXPUNGE_KEY"


def requester_digest(requester: str, root: Path) -> str:
    """Keyed HMAC-SHA256 of what a requester is called: the same person gives the same digest, and without the key
    nobody can test a guess. Case and spacing do not count.

    Raises:
        ExpungeError: the key cannot be read or created.
    """
    plain = " ".join(unicodedata.normalize("NFKC", requester).casefold().split())
    return hmac.new(secret_key(root), plain.encode("utf-8", "surrogateescape"), "sha256").hexdigest()


def example_digest(picture: bytes, root: Path) -> str:
    """Keyed HMAC-SHA256 of an example picture's bytes."""
    return hmac.new(secret_key(root), b"example\0" + picture, "sha256").hexdigest()


def secret_key(root: Path) -> bytes:
    """The secret of all keyed digests: from the environment, else from the key file, which the first use creates."""
    if secret := os.environ.get(KEY_VARIABLE):
        return secret.encode("utf-8", "surrogateescape")
    path = Paths(root).key
    try:
        if not path.exists():
            _create_key(path)
        key = path.read_bytes().strip()
    except OSError as error:
        raise ExpungeError(
            f"The key {path} cannot be used: {error.strerror}. Mend that, or set {KEY_VARIABLE}."
        ) from error
    if not key:
        raise ExpungeError(f"The key {path} is empty. Restore it from your backup, or set {KEY_VARIABLE}.")
    return key


def _create_key(path: Path) -> None:
    """Appears complete or not at all and never replaces another process's key: a hard link does both."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # mkstemp creates the file with mode 0600, which the link shares.
    handle, partial = tempfile.mkstemp(prefix=".key.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "w") as stream:
            stream.write(secrets.token_hex(32) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
        with contextlib.suppress(FileExistsError):
            os.link(partial, path)
    finally:
        os.unlink(partial)
