"""What MLflow is told about one release."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

TAG_LIMIT = 5000
TAGS = (
    *("release", "parent", "requests", "data_version", "git_commit", "model_digest", "method", "release_digest"),
    *("verdict", "ledger"),
)


@dataclass(frozen=True)
class DataSet:
    """Data that a release was made from, by name and digest only: MLflow gets no content and no schema.

    Attributes:
        path: where it lies, relative to the project's folder.
        digest: DVC's md5 where known.
        sha256: our own digest of it.
        samples: how many samples it holds.
    """

    name: str
    context: str
    path: str
    digest: str
    sha256: str
    samples: int


@dataclass(frozen=True)
class RunRecord:
    """All that MLflow is told about one release.

    Attributes:
        requests: request id → digest.
        data_version: DVC's md5 of the catalog, or the catalog's digest where DVC does not know it.
        verdict: `passed`, `failed`, or another word where no gate applies.
        metrics: final figures by name; those without a slash stand first in MLflow, the others in groups.
        curves: prefix → CSV with a `step` column.
        artifacts: files and folders of the report; never samples.
        model_files: weights and configuration, copied as they are.
        description: Markdown, shown on the run and on the version.
        ledger: number and hash of the ledger's last event when the release was recorded; empty without a ledger.
    """

    release: str
    parent: str | None
    requests: Mapping[str, str]
    method: str
    parameters: Mapping[str, Any]
    data_version: str
    git_commit: str
    model_digest: str
    release_digest: str
    verdict: str
    data_sets: Sequence[DataSet]
    metrics: Mapping[str, float]
    curves: Mapping[str, Path]
    artifacts: Sequence[Path]
    model_files: Sequence[Path]
    description: str
    ledger: str = ""

    @property
    def title(self) -> str:
        """What the run is called in lists."""
        return f"{self.release}, {self.method}, {self.verdict}"

    @property
    def tags(self) -> dict[str, str]:
        """Tags of the run, the model and the version alike, so that a search finds all three."""
        return {
            "release": self.release,
            "parent": self.parent or "",
            "requests": shortened(",".join(self.requests)),
            "data_version": self.data_version,
            "git_commit": self.git_commit,
            "model_digest": self.model_digest,
            "method": self.method,
            "release_digest": self.release_digest,
            "verdict": self.verdict,
            "ledger": self.ledger,
        } | {f"request.{request_id}": digest for request_id, digest in self.requests.items()}


def is_recorded(tag: str) -> bool:
    """Whether a tag is one of `RunRecord.tags`; others are of MLflow, of a person, or said about a version later."""
    return tag in TAGS or tag.startswith("request.")


def flatten(value: Mapping[str, Any], prefix: str = "") -> dict[str, float]:
    """Nested figures under names with slashes, by which MLflow groups; what is not a finite number is left out."""
    found: dict[str, float] = {}
    for key, item in value.items():
        if isinstance(item, Mapping):
            found |= flatten(item, f"{prefix}{key}/")
        elif isinstance(item, int | float) and math.isfinite(item):
            found[f"{prefix}{key}"] = float(item)
    return found


def shortened(text: str) -> str:
    return text if len(text) <= TAG_LIMIT else f"{text[: TAG_LIMIT - 1]}…"
