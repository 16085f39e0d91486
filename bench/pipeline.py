"""`make bench`: what the pipeline costs on this machine → bench/results/pipeline.json.

Reads the costs that the steps measured in the last `dvc repro`, times the commands that people wait for (five runs
each, median) and runs the evaluation once more, the step with the largest memory. Run `make demo` first, with nothing
else running.
"""

from __future__ import annotations

import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

from bench.machine import machine
from expunge.project.files import read_json, write_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain
from expunge.settings import load_params

RUNS = 5
COMMANDS = {
    "dvc repro, nothing to do": ["dvc", "repro"],
    "dvc status": ["dvc", "status"],
    "expunge trace": ["expunge", "trace", "r001", "--json"],
    "expunge --help": ["expunge", "--help"],
    "expunge search --text": ["expunge", "search", "--text", "red apple", "--json"],
}


def main() -> None:
    """Measure and write the results."""
    paths = Paths()
    results = {
        "command": "make demo && make bench",
        "machine": machine(),
        "seed": load_params(paths.params).seed,
        "steps": {name: _steps(paths, name) for name in chain(paths)},
        "seconds": {label: _median_seconds(command) for label, command in COMMANDS.items()},
        "evaluate": _evaluation(),
    }
    target = Path("bench/results/pipeline.json")
    write_json(target, results)
    print(f"Wrote {target}.")


def _steps(paths: Paths, name: str) -> dict[str, dict]:
    where = paths.release(name)
    files = [where.embedding_cost, *([where.training] if name == BASE else [where.unlearning, where.gold_training])]
    return {path.stem: read_json(path) for path in files if path.is_file()} | {"summary": read_json(where.summary)}


def _evaluation() -> dict[str, float]:
    """Seconds and peak memory of the evaluation of r001; it writes the same files again."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "expunge.steps.evaluate", "r001"], check=True, stdout=subprocess.DEVNULL)
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024
    return {"seconds": round(time.perf_counter() - start, 1), "peak_memory_mb": round(peak, 1)}


def _median_seconds(command: list[str]) -> float:
    seconds = []
    for _ in range(RUNS):
        start = time.perf_counter()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        seconds.append(time.perf_counter() - start)
    return round(statistics.median(seconds), 2)


if __name__ == "__main__":
    main()
