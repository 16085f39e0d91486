"""The demo's own forget set, retrained with several seeds → bench/results/demo_retrainings.json.

`python -m bench.forgetting.demo PROJECT...` reads release r001 of projects in which the demo ran, each with another
`seed`: the gold standard and the original, as the judge is told of them.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pyarrow.parquet as pq

from bench.forgetting.distance import GOLD, ORIGINAL
from bench.forgetting.results import DIGITS
from bench.forgetting.spread import DEMO
from bench.machine import machine
from expunge.lineage.git import git_commit
from expunge.project.files import read_json, rounded, write_json
from expunge.project.paths import Paths
from expunge.settings import load_params

RELEASE = "r001"
MODELS = {ORIGINAL: "original", GOLD: "retrained"}


def retrained(project: Path) -> dict[str, Any]:
    """What one project's demo says of its gold standard and its original, and where that comes from."""
    where = Paths(project).release(RELEASE)
    metrics, pairs = read_json(where.metrics), pq.read_table(where.similarities)
    found: dict[str, Any] = {
        name: {
            "metrics": metrics["models"][model],
            "traces": metrics["traces"][model],
            "similarities": pairs.filter((pc.field("model") == model) & (pc.field("set") == "forget"))[
                "similarity"
            ].to_pylist(),
        }
        for name, model in MODELS.items()
    }
    return rounded(found, DIGITS) | {"source": {"machine": machine(), "commit": git_commit(project)}}


def main() -> None:
    """Write the file."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", type=Path, nargs="+")
    projects = parser.parse_args().projects
    seeds = {str(load_params(project / "params.yaml").seed): retrained(project) for project in projects}
    write_json(DEMO, {"origin": "release r001 of the demo by seed; see bench/forgetting/demo.py", "seeds": seeds})


if __name__ == "__main__":
    main()
