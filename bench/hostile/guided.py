"""The same readers under Atheris, which looks at what code an input reaches and changes it so that it reaches more.

    python -m bench.hostile.guided [--runs 20000]   → rows of bench/results/hostile.json

Atheris comes with the extra `fuzz`; the seed is fixed. It ends at the first input that a reader does not hold.
"""

from __future__ import annotations

import argparse
import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from bench.hostile.row import Outcome, Row
from bench.hostile.run import RESULTS, Results

READERS = ("YAML", "JSON", "release.yaml", "params.yaml", "submissions, JSON", "submissions, CSV", "certificate")
LONGEST = 2000
"""Bytes of an input."""


def feed(reader: str, runs: int) -> None:
    """Feed one reader in this process, which Atheris ends."""
    import atheris

    with atheris.instrument_imports(include=["expunge", "yaml"]):
        from bench.hostile.parsers import answer, targets

    with targets() as found, tempfile.TemporaryDirectory() as corpus:
        target = next(one for one in found if one.what == reader)

        def once(data: bytes) -> None:
            if faults := answer(target, data).faults:
                raise AssertionError(faults[0])

        for number, start in enumerate(target.starts):
            (Path(corpus) / str(number)).write_bytes(start[:LONGEST])
        options = [f"-atheris_runs={runs}", f"-max_len={LONGEST}", "-seed=1", "-print_final_stats=1"]
        atheris.Setup([sys.argv[0], *options, corpus], once)
        atheris.Fuzz()


def row_of(reader: str, runs: int) -> Row:
    """Feed one reader in a process of its own."""
    started = time.monotonic()
    command = [sys.executable, "-m", "bench.hostile.guided", "--reader", reader, "--runs", str(runs)]
    with tempfile.TemporaryDirectory() as folder:  # where Atheris writes the input that was not held
        environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path)}
        done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, errors="replace")
    executed = re.search(r"Done (\d+)", done.stderr)
    row = Row(f"{reader}, guided by coverage")
    row.tried, row.seconds = int(executed[1]) if executed else 0, round(time.monotonic() - started, 1)
    if done.returncode:
        fault = next((line for line in done.stderr.splitlines() if "Error" in line), done.stderr[-300:])
        row.add(Outcome((fault,)))
    return row


def main() -> None:
    """Feed all readers and keep what came of it, or one, in this process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--reader", choices=READERS)
    parser.add_argument("--runs", type=int, default=20_000)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    if asked.reader:
        feed(asked.reader, asked.runs)
        return
    results = Results(asked.out, 0)
    for reader in READERS:
        results.put(row_of(reader, asked.runs))


if __name__ == "__main__":
    main()
