"""Settings of certificates."""

from __future__ import annotations

from typing import Literal

from expunge.project.schema import Block


class CertificateParams(Block):
    """Who signs certificates. In `production` mode no key is ever made by itself.

    The private key is read from the environment variable EXPUNGE_SIGNING_KEY where that is set, else from its file.
    """

    mode: Literal["demo", "production"] = "demo"
    private_key: str = ".expunge/keys/certificate.pem"
    public_key: str = ".expunge/keys/certificate.pub"
