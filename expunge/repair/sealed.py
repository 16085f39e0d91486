"""A file that only a passphrase opens: AES-256-GCM under a key that scrypt (RFC 7914) derives from it."""

from __future__ import annotations

import os

from expunge.project.errors import ExpungeError

MAGIC = b"EXPUNGE-BACKUP-1\n"
SALT, NONCE = 16, 12
COST = {"n": 1 << 15, "r": 8, "p": 1}
"""32 MiB and a tenth of a second for each guess."""
SHORTEST = 12


def seal(content: bytes, passphrase: str) -> bytes:
    """`content`, encrypted.

    Raises:
        ExpungeError: the passphrase is too short.
    """
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if len(passphrase) < SHORTEST:
        raise ExpungeError(f"The passphrase is too short: it guards the keys, so take {SHORTEST} characters or more.")
    head = MAGIC + os.urandom(SALT)
    nonce = os.urandom(NONCE)
    return head + nonce + AESGCM(_key(passphrase, head[len(MAGIC) :])).encrypt(nonce, content, head)


def unseal(sealed: bytes, passphrase: str) -> bytes:
    """The content of a sealed file.

    Raises:
        ExpungeError: it is another kind of file, it was changed, or the passphrase is another one.
    """
    from cryptography.exceptions import InvalidTag
    from cryptography.hazmat.primitives.ciphers.aead import AESGCM

    if not sealed.startswith(MAGIC):
        raise ExpungeError("This is not a backup that `expunge backup` wrote.")
    end = len(MAGIC) + SALT
    head, nonce, body = sealed[:end], sealed[end : end + NONCE], sealed[end + NONCE :]
    try:
        return AESGCM(_key(passphrase, head[len(MAGIC) :])).decrypt(nonce, body, head)
    except (InvalidTag, ValueError):
        raise ExpungeError("The backup cannot be opened: the passphrase is another one, or the file changed.") from None


def _key(passphrase: str, salt: bytes) -> bytes:
    from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

    return Scrypt(salt=salt, length=32, **COST).derive(passphrase.encode())
