"""`python -m bench.golden`: the figures of a 200-sample pipeline, and how far other kernels move them.

Writes tests/golden/pipeline.json, which `tests/test_golden.py` holds every run against. Bits differ from one processor
to the next, so a figure has a tolerance: three times what it moves by when the same code runs with other threads and
other instruction sets, and never less than `LEAST`. A change that moves a figure further has changed what is computed;
where that is meant, this command renews the file and the commit says why.
"""

from __future__ import annotations

import os
import sys
import tempfile
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from bench.machine import machine
from expunge.models.curves import read_curve
from expunge.project.files import read_json, write_json
from expunge.project.paths import BASE, Paths

GOLDEN = Path("tests/golden/pipeline.json")
LEAST = 0.02
TIMES = 3.0
VARIANTS: tuple[dict[str, str], ...] = (
    {},
    {"OMP_NUM_THREADS": "2"},
    {"ATEN_CPU_CAPABILITY": "avx2", "ONEDNN_MAX_CPU_ISA": "AVX2", "MKL_ENABLE_INSTRUCTIONS": "AVX2"},
    {"ATEN_CPU_CAPABILITY": "default", "ONEDNN_MAX_CPU_ISA": "SSE41", "MKL_ENABLE_INSTRUCTIONS": "SSE4_2"},
)
"""What a processor without AVX-512, or without AVX, would compute, and two threads instead of one."""

PATIENT = {"PREFECT_SERVER_EPHEMERAL_STARTUP_TIMEOUT_SECONDS": "300"}


def figures(project: Path) -> dict[str, float]:
    """The figures of base and r001 by dotted name, and the loss at the end of training."""
    found: dict[str, float] = {}
    paths = Paths(project)
    found["base.loss"] = read_curve(paths.release(BASE).training_curve)[-1][1]["loss"]
    found |= _flat(BASE, read_json(paths.release(BASE).metrics)["model"])
    for name, block in read_json(paths.release("r001").metrics)["models"].items():
        found |= _flat(name, block)
    return found


def _flat(prefix: str, block: Mapping[str, Any]) -> dict[str, float]:
    """Recall and similarity of each set, and the membership attack; steps of relearning are counts of three."""
    found: dict[str, float] = {}
    for key, value in block.items():
        if isinstance(value, dict):
            found |= {
                f"{prefix}.{key}.{name}": float(value[name])
                for name in ("image_to_text_r1", "text_to_image_r1", "pair_similarity")
            }
        elif key == "mia_auc":
            found[f"{prefix}.{key}"] = float(value)
    return found


def main() -> None:
    """Run the pipeline once a variant and write the golden figures."""
    sys.path.insert(0, "tests")
    # The tests' own helpers, found by the path just added.
    helpers = import_module("project")

    runs = []
    for variant in VARIANTS:
        with tempfile.TemporaryDirectory(prefix="expunge-golden-") as folder:
            os.environ |= {"OMP_NUM_THREADS": "1", "PREFECT_HOME": f"{folder}/prefect"} | PATIENT | variant
            project = helpers.make_project(Path(folder) / "project", helpers.tiny_params(gate=helpers.lenient_gate()))
            helpers.run(project, "dvc", "repro", "--quiet", "register")
            helpers.approved_request(project, "--class", "country-flag")
            helpers.run(project, "expunge", "release")
            runs.append(figures(project))
            for name in variant:
                os.environ.pop(name)
        print(f"{variant or 'as it is'}: {len(runs[-1])} figures", flush=True)
    golden = {}
    for name, value in runs[0].items():
        moved = max(abs(one[name] - value) for one in runs)
        golden[name] = {"value": round(value, 6), "tolerance": round(max(LEAST, TIMES * moved), 4)}
    write_json(GOLDEN, {"command": "python -m bench.golden", "machine": machine(), "seed": 0, "figures": golden})


if __name__ == "__main__":
    main()
