"""Step `catalog`: the source of params.yaml → data/catalog."""

from __future__ import annotations

from expunge.catalog import write_catalog
from expunge.config import Params
from expunge.paths import Paths
from expunge.sources import open_source
from expunge.steps import step_main


def catalog(paths: Paths, params: Params, release: str) -> None:
    """Write the catalog; the release is always `base`."""
    built = write_catalog(paths.catalog, open_source(params.catalog), params.catalog.rows_per_shard)
    print(f"catalog: {len(built)} samples in {len(built.shards)} shards, digest {built.digest[:12]}")


if __name__ == "__main__":
    step_main(catalog)
