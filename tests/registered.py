"""A registration as small as a release's can be, for tests in which only its verdict counts."""

from __future__ import annotations

from expunge.project.files import write_json
from expunge.project.paths import Paths


def write_registration(paths: Paths, name: str, verdict: str) -> None:
    """Finish release `name` with a verdict."""
    digests = ("release", "model", "parent_model", "forget", "description", "metrics", "catalog")
    content = {f"{part}_digest": "0" * 64 for part in digests}
    content |= {"release": name, "parent": "base", "verdict": verdict, "gold_model_digest": None}
    content |= {"data_version": "0" * 32, "method": "cliperase", "requests": {}, "files": {}}
    write_json(paths.release(name).registration, content)
