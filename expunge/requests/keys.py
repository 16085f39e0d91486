"""Keyed digests: what stands in files instead of personal data, and the secret behind it."""

from __future__ import annotations

import hmac
import os
import unicodedata
from collections.abc import Callable
from pathlib import Path
from typing import Any

from expunge.project.errors import ExpungeError
from expunge.project.files import canonical_json
from expunge.project.paths import Paths
from expunge.project.secret import kept_secret

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


def file_digest(content: bytes, root: Path) -> str:
    """Keyed HMAC-SHA256 of a file that was handed in."""
    return hmac.new(secret_key(root), b"file\0" + content, "sha256").hexdigest()


def keyed_digest(root: Path, purpose: str, value: Any) -> str:
    """HMAC-SHA256 of a JSON-serialisable value; what is made for one purpose says nothing for another."""
    return hmac.new(secret_key(root), f"{purpose}\0".encode() + canonical_json(value), "sha256").hexdigest()


def subject_digests(root: Path) -> Callable[[str], str]:
    """A function from a catalog's subject id to the keyed digest by which a request may name the subject.

    Raises:
        ExpungeError: when it is called, if the key cannot be read or created.
    """
    key: list[bytes] = []

    def digest(subject_id: str) -> str:
        if not key:  # read once: a catalog may have a million subjects
            key.append(secret_key(root))
        return hmac.new(key[0], b"subject\0" + subject_id.encode("utf-8", "surrogateescape"), "sha256").hexdigest()

    return digest


def secret_key(root: Path) -> bytes:
    """The secret of all keyed digests: from the environment, else from the key file, which the first use creates.

    Raises:
        ExpungeError: the key cannot be read or created, or it is gone although something was made with it.
    """
    if secret := os.environ.get(KEY_VARIABLE):
        return secret.encode("utf-8", "surrogateescape")
    path = Paths(root).key
    try:
        if not path.exists():
            _refuse_another(root)
        key = kept_secret(path).encode("utf-8", "surrogateescape")
    except OSError as error:
        raise ExpungeError(
            f"The key {path} cannot be used: {error.strerror}. Mend that, or set {KEY_VARIABLE}."
        ) from error
    if not key:
        raise ExpungeError(f"The key {path} is empty. Restore it from your backup, or set {KEY_VARIABLE}.")
    return key


def _refuse_another(root: Path) -> None:
    """A new key in place of a lost one would make everything that was sealed under the old one look forged."""
    paths = Paths(root)
    for made in (paths.ledger_head, paths.suppression, paths.suppression_head):
        if made.exists():
            raise ExpungeError(
                f"The key {paths.key} is gone, and {made} was made with it. Restore it with `expunge restore FILE`, "
                f"or set {KEY_VARIABLE}."
            )
