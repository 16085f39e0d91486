"""The schema of a trace: what `expunge trace --json` prints about one release and everything that it is linked with."""

from __future__ import annotations

from typing import Literal

from expunge.project.schema import Block

Agreement = Literal["ok", "mismatch", "missing", "changed"]
"""`changed` is what people may edit, and did: it is named, and no fault."""


class Comparison(Block):
    """A digest as it was recorded against the digest that is found; `missing` where one side is not there.

    Attributes:
        what: what is compared.
        where: path or other place of what was found.
        recorded, found: the two sides, or in `found` the reason of a failure that no two digests express.
    """

    what: str
    where: str
    recorded: str | None
    found: str | None
    state: Agreement


class ServedRequest(Block):
    """A request that the release serves: no selector and no note, as those may describe what was forgotten."""

    request_id: str
    digest: str
    basis: str
    received_at: str
    due: str


class Ancestor(Block):
    """One release on the way from the parent up to `base`."""

    release: str
    requests: tuple[str, ...]
    model_digest: str | None
    verdict: str


class DataVersion(Block):
    """The catalog: its version by DVC (MD5), and its digest by its manifest (SHA-256)."""

    version: str | None
    catalog_digest: str | None


class RecordedVersion(Block):
    """A version of the registered model that MLflow has of the release; `version` is NAME/NUMBER."""

    version: str
    run_id: str | None
    aliases: tuple[str, ...]
    verdict: str | None
    model_digest: str | None
    release_digest: str | None
    git_commit: str | None
    superseded_by: str | None


class RecordedInMlflow(Block):
    """All versions that MLflow has of the release."""

    recorded: Literal[True] = True
    versions: tuple[RecordedVersion, ...]


class NotInMlflow(Block):
    """Why MLflow has no version of the release."""

    recorded: Literal[False] = False
    reason: str


class Account(Block):
    """The whole chain of one release.

    Attributes:
        ancestors: from the parent up to `base`.
        children: releases that were made from this one.
        verdict: of the gate, or `not registered`.
        dvc: path of an output → its MD5 in dvc.lock.
        checks: every digest that could be compared.
        intact: no comparison is a mismatch.
    """

    release: str
    parent: str | None
    ancestors: tuple[Ancestor, ...]
    children: tuple[str, ...]
    requests: tuple[ServedRequest, ...]
    method: str | None
    verdict: str
    release_digest: str | None
    model_digest: str | None
    data: DataVersion
    dvc: dict[str, str]
    mlflow: RecordedInMlflow | NotInMlflow
    checks: tuple[Comparison, ...]
    intact: bool
