"""The service's own key: it signs answers and callbacks of OpenDSR and receipts of the Data Deletion Request Framework.

OpenDSR asks for a certificate that an authority issued to the domain. On loopback, where nobody else is served, a
self-signed one is made on first use; for a public origin key and certificate have to be there.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from datetime import timedelta
from functools import cached_property
from typing import TYPE_CHECKING, Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import padding, rsa
from cryptography.x509.oid import NameOID

from expunge.intake.settings import ServeParams
from expunge.project.clock import utc_now
from expunge.project.errors import ExpungeError
from expunge.project.files import write_bytes
from expunge.project.paths import Paths

if TYPE_CHECKING:
    from joserfc.jwk import RSAKey

BITS = 3072
DAYS = 365


@dataclass(frozen=True)
class Seal:
    """The private key with its certificate (PEM) and the domain that both speak for."""

    key: rsa.RSAPrivateKey
    certificate: bytes
    domain: str

    def sign(self, body: bytes) -> str:
        """RSASSA-PKCS1-v1_5 with SHA-256 over `body`, in base64 (FIPS 186-4)."""
        return base64.b64encode(self.key.sign(body, padding.PKCS1v15(), hashes.SHA256())).decode()

    @cached_property
    def jwk(self) -> RSAKey:
        """The key as a JSON Web Key, named by its thumbprint (RFC 7638)."""
        from joserfc.jwk import RSAKey

        found = RSAKey.import_key(_pem(self.key))
        found.ensure_kid()
        return found

    def token(self, claims: dict[str, Any]) -> str:
        """A JSON Web Token of `claims` (RS256)."""
        from joserfc import jwt

        return jwt.encode({"typ": "JWT", "alg": "RS256", "kid": self.jwk.kid}, claims, self.jwk)


def open_seal(paths: Paths, params: ServeParams, domain: str) -> Seal:
    """The key and the certificate that params.yaml names.

    Raises:
        ExpungeError: one of them is missing for a public origin, or is not an RSA key or a certificate in PEM.
    """
    private, public = paths.root / params.private_key, paths.root / params.certificate
    if not private.exists() and not public.exists() and params.public is None:
        _make(private, public, domain)
    try:
        key = serialization.load_pem_private_key(private.read_bytes(), None)
        certificate = public.read_bytes()
        issued = x509.load_pem_x509_certificate(certificate)
    except FileNotFoundError as error:
        raise ExpungeError(
            f"{error.filename} is missing. Senders check answers by a certificate that an authority issued to "
            f"{domain}: put its key and itself where `serve.private_key` and `serve.certificate` say."
        ) from None
    except (ValueError, TypeError):
        raise ExpungeError(f"{private} must be a private key and {public} a certificate, both in PEM.") from None
    if not isinstance(key, rsa.RSAPrivateKey):
        raise ExpungeError(f"{private} must be an RSA key: OpenDSR's senders check RSA signatures.")
    if issued.public_key() != key.public_key():
        raise ExpungeError(f"{public} was not issued for the key {private}.")
    return Seal(key, certificate, domain)


def _make(private: Any, public: Any, domain: str) -> None:
    key = rsa.generate_private_key(65537, BITS)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, domain)])
    now = utc_now()
    certificate = (
        x509.CertificateBuilder(name, name, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=DAYS))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(domain)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    write_bytes(private, _pem(key), private=True)
    write_bytes(public, certificate.public_bytes(serialization.Encoding.PEM))


def _pem(key: rsa.RSAPrivateKey) -> bytes:
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
