"""Signatures: an in-toto Statement as the payload of a DSSE envelope, signed with the key that params.yaml names.

Formats: in-toto Statement v1 (https://in-toto.io/Statement/v1) and DSSE 1.0 (https://github.com/secure-systems-lab/dsse),
so that other tools check a certificate, too. New keys are Ed25519, whose signatures are deterministic: the same
statement gives the same file.
"""

from __future__ import annotations

import contextlib
import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from expunge.project.errors import ExpungeError
from expunge.project.files import canonical_json, json_bytes, write_bytes
from expunge.project.paths import Paths
from expunge.project.reading import strict_json
from expunge.proof.settings import CertificateParams

if TYPE_CHECKING:
    from securesystemslib.signer import CryptoSigner, SSlibKey

KEY_VARIABLE = "EXPUNGE_SIGNING_KEY"
"""The private key itself in PEM, for machines that get their secrets through the environment."""
PAYLOAD_TYPE = "application/vnd.in-toto+json"
OTHERS = 0o077
"""Permissions that others must not have on a private key."""


def signing_key(paths: Paths, params: CertificateParams) -> CryptoSigner:
    """The private key; in demo mode it is made on first use.

    Raises:
        ExpungeError: there is no key, it is no private key in PEM, others can read it, or the public key that readers
            trust is not its own.
    """
    private, public = paths.root / params.private_key, paths.root / params.public_key
    if params.mode == "demo" and KEY_VARIABLE not in os.environ and not private.is_file():
        create_keys(private, public)
    signer = _private_key(private)
    if params.mode == "demo" and not public.is_file():
        _write_public(signer, public)
    if trusted_key(paths, params).keyid != signer.public_key.keyid:
        raise ExpungeError(
            f"The private key does not belong to {params.public_key}, so no one could check the certificate; correct "
            "the block `certificate` of params.yaml."
        )
    return signer


def trusted_key(paths: Paths, params: CertificateParams, file: Path | None = None) -> SSlibKey:
    """The public key that certificates are checked with: that of `file`, else the one in params.yaml.

    Raises:
        ExpungeError: the file is missing or holds no public key in PEM.
    """
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_public_key
    from securesystemslib.signer import SSlibKey

    path = file or paths.root / params.public_key
    if not path.is_file():
        raise ExpungeError(f"The public key {path} is missing; get it from whoever signed the certificate.")
    try:
        return SSlibKey.from_crypto(load_pem_public_key(path.read_bytes()))
    except (ValueError, UnsupportedAlgorithm):
        raise ExpungeError(f"{path} holds no public key in PEM.") from None


def create_keys(private: Path, public: Path) -> str:
    """Make an Ed25519 key pair and return its key id; existing files are never replaced.

    Raises:
        ExpungeError: the private key is there already, or a file cannot be written.
    """
    from securesystemslib.signer import CryptoSigner

    signer = CryptoSigner.generate_ed25519()
    try:
        private.parent.mkdir(parents=True, exist_ok=True)
        _create_exclusively(private, signer.private_bytes)
    except FileExistsError:
        raise ExpungeError(f"{private} exists already; a signing key is never replaced. Choose another file.") from None
    _write_public(signer, public)
    return signer.public_key.keyid


def sign(statement: dict[str, Any], signer: CryptoSigner) -> bytes:
    """The content of a certificate file: `statement` in a signed envelope."""
    from securesystemslib.dsse import Envelope

    envelope = Envelope(canonical_json(statement), PAYLOAD_TYPE, {})
    envelope.sign(signer)
    return json_bytes(envelope.to_dict())


def read_signed(path: Path, key: SSlibKey) -> dict[str, Any]:
    """The statement in a certificate file.

    Raises:
        ExpungeError: the file is missing, one byte differs from what was signed, or another key signed it.
    """
    from securesystemslib.dsse import Envelope
    from securesystemslib.exceptions import Error

    if not path.is_file():
        raise ExpungeError(f"{path} is missing; `expunge certificate issue` writes it.")
    content = path.read_bytes()
    try:
        envelope = Envelope.from_dict(strict_json(content.decode()))
        # Base64 and JSON have several spellings of one content; only the one that was written is accepted.
        if json_bytes(envelope.to_dict()) != content or envelope.payload_type != PAYLOAD_TYPE:
            raise ValueError
        signers = ", ".join(envelope.signatures)
        envelope.verify([key], 1)
        return strict_json(envelope.payload.decode())
    except (ValueError, KeyError, TypeError, AttributeError):
        raise ExpungeError(f"{path} is not the envelope that was signed; it was changed or damaged.") from None
    except Error:
        reason = "was changed" if key.keyid in signers else f"was signed by {signers}, not by {key.keyid}"
        raise ExpungeError(f"{path} {reason}; its signature does not hold.") from None


def _private_key(path: Path) -> CryptoSigner:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.serialization import load_pem_private_key
    from securesystemslib.signer import CryptoSigner

    given = os.environ.get(KEY_VARIABLE)
    where = KEY_VARIABLE if given is not None else str(path)
    if given is None:
        if not path.is_file():
            raise ExpungeError(
                f"The signing key {path} is missing. Put it there, give it in {KEY_VARIABLE}, or make one with "
                "`expunge certificate new-key`."
            )
        if path.stat().st_mode & OTHERS:
            raise ExpungeError(f"Others can read the signing key {path}; run `chmod 600 {path}`.")
    try:
        return CryptoSigner(load_pem_private_key(path.read_bytes() if given is None else given.encode(), None))
    except (ValueError, TypeError, UnsupportedAlgorithm):
        raise ExpungeError(f"{where} holds no private key in PEM without a password.") from None


def _create_exclusively(path: Path, content: bytes) -> None:
    """Write a file that only its owner can read, complete or not at all; raises `FileExistsError` if it is there."""
    handle, partial = tempfile.mkstemp(prefix=f".{path.name}.", suffix=".partial", dir=path.parent)
    try:
        with os.fdopen(handle, "wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        os.link(partial, path)
    finally:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(partial)


def _write_public(signer: CryptoSigner, path: Path) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    key = load_pem_private_key(signer.private_bytes, None).public_key()
    write_bytes(path, key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
