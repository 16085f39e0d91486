"""Step `source`: where the catalog comes from a store or package that DVC cannot see → data/source.json."""

from __future__ import annotations

from expunge.corpus.fingerprint import ask
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.settings import Params
from expunge.steps import step_main


def source(paths: Paths, params: Params, release: str) -> None:
    """Write what the source looks like now; the release is always `base`."""
    said = ask(params.catalog)
    write_json(paths.source_fingerprint, said)
    print(f"source: {', '.join(said)} looked at")


if __name__ == "__main__":
    step_main(source)
