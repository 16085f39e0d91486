"""The registration of a release, `reports/R/registration.json`: its names, and the digests of what it is made of."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from expunge.project.documents import parsed, read_document
from expunge.project.errors import ExpungeError
from expunge.project.files import read_json
from expunge.project.paths import Paths
from expunge.project.schema import Block

Verdict = Literal["passed", "failed", "not gated"]
"""`not gated` is the verdict on `base`, which no gate judges."""


class Registration(Block):
    """What the step `register` records of a release; digests are hex SHA-256 unless said otherwise.

    Attributes:
        release_digest: names the release: the same model, requests and figures give the same one.
        parent_model_digest, gold_model_digest: None where there is no such model.
        description_digest: of the content of release.yaml; None for `base`.
        data_version: DVC's MD5 of the catalog, or the catalog's digest where DVC has no entry of it.
        requests: request id → digest of the request's content.
        files: path relative to the root → digest, for all that the release consists of.
    """

    release: str
    parent: str | None
    verdict: Verdict
    release_digest: str
    model_digest: str
    parent_model_digest: str | None
    gold_model_digest: str | None
    forget_digest: str | None
    description_digest: str | None
    metrics_digest: str
    catalog_digest: str | None
    data_version: str | None
    method: str | None
    requests: dict[str, str] = Field(description="request id → digest")
    files: dict[str, str] = Field(description="path → SHA-256")


def registration_of(paths: Paths, name: str) -> Registration | None:
    """The registration of a release, that of a purged one from its tombstone; None where it was never registered.

    Raises:
        ExpungeError: the file is damaged.
    """
    where = paths.release(name)
    if where.registration.is_file():
        return read_document(Registration, where.registration)
    if not where.tombstone.is_file():
        return None
    tombstone = read_json(where.tombstone)
    buried = tombstone.get("registration") if isinstance(tombstone, dict) else tombstone
    return None if buried is None else parsed(Registration, buried, where.tombstone)


def registered(paths: Paths, name: str) -> Registration:
    """The registration of a release.

    Raises:
        ExpungeError: it was never registered, or the file is damaged.
    """
    registration = registration_of(paths, name)
    if registration is None:
        raise ExpungeError(f"Release {name} was never registered; run `dvc repro`.")
    return registration
