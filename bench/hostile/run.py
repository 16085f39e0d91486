"""Campaign: hostile input, bit flips, kills and races. Nothing unnoticed, nothing lost, doubled or stuck.

Models are stand-ins of a few bytes, so that a kill costs a second or two; ledger, locks, certificates, lists, DVC,
purge, repair and verification are the real ones. Every attack is drawn from the seed, its kind and its number alone,
and what was measured is kept: a run that was interrupted goes on where it ended.

    python -m bench.hostile.run [--inputs 500 --flips 1000 --kills 200 --races 100] [--seed 0]

writes bench/results/hostile.json; a count of 0 leaves a part out.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import random
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench.hostile.flipping import Flips
from bench.hostile.killing import JOBS, Kills
from bench.hostile.parsers import attack, targets
from bench.hostile.racing import PAIRS, Races
from bench.hostile.row import Part, Row
from bench.hostile.scene import ROOT, Copies, build
from bench.machine import machine
from expunge.project.files import read_json, write_json

RESULTS = ROOT / "bench" / "results" / "hostile.json"
LEDGERS = ("SQLite", "PostgreSQL")
# MLflow's engine would answer from pages that it read before a flip.
os.environ["MLFLOW_SQLALCHEMYSTORE_POOLCLASS"] = "NullPool"


class Results:
    """Rows by name, kept in a file after every attack."""

    def __init__(self, path: Path, seed: int) -> None:
        self._path = path
        known = read_json(path) if path.is_file() else {}
        self._rows = {row["what"]: Row.of(row) for row in known.get("rows", [])} if known.get("seed") == seed else {}
        self._seed = seed

    def measure(self, part: Part, count: int, name: str) -> Row:
        """Attack until there were `count` attacks of this name."""
        row = self._rows.setdefault(name, Row(name))
        while row.tried < count:
            started = time.monotonic()
            outcome = part.attempt(row.tried, random.Random(f"{self._seed} {name} {row.tried}"))
            row.add(outcome, time.monotonic() - started)
            self._save()
        self.put(row)
        return row

    def feed(self, count: int) -> list[Row]:
        """Hostile input for every reader that was not fed yet; Hypothesis draws it, the same each time."""
        with targets() as found:
            for target in found:
                if target.what not in self._rows or self._rows[target.what].tried < count:
                    self.put(attack(target, count))
            return [self._rows[target.what] for target in found]

    def put(self, row: Row) -> None:
        """Keep a row and show it."""
        self._rows[row.what] = row
        self._save()
        print(f"{row.what}: {row.tried} tried, {row.held} held, {row.failed} failed, {row.seconds} s", flush=True)

    def _save(self) -> None:
        rows = [row.content() for row in self._rows.values()]
        head: dict[str, Any] = {"command": "python -m bench.hostile.run", "seed": self._seed, "machine": machine()}
        write_json(self._path, head | {"rows": rows})


def run(
    results: Results, inputs: int, flips: int, kills: int, races: int, ledgers: Sequence[str] = LEDGERS
) -> list[Row]:
    """All parts; flips with a record in MLflow, kills and races with the ledger on each kind of database."""
    rows = results.feed(inputs) if inputs else []
    with tempfile.TemporaryDirectory(prefix="expunge-hostile-") as name:
        folder = Path(name)
        if flips:
            part = Flips(build(folder / "flips", recorded=True))
            rows.append(results.measure(part, flips, part.what))
        for ledger in ledgers if kills or races else ():
            with _copies(ledger, folder) as copies:
                parts: list[tuple[Part, int]] = [(Kills(copies, job), _share(kills, JOBS, job)) for job in JOBS]
                parts += [(Races(copies, pair), _share(races, PAIRS, pair)) for pair in PAIRS]
                rows += [results.measure(part, count, f"{part.what}, {ledger}") for part, count in parts if count]
    return rows


def _share(count: int, kinds: Sequence[object], kind: object) -> int:
    """How many of `count` attacks are of one kind."""
    return len(range(kinds.index(kind), count, len(kinds)))


@contextlib.contextmanager
def _copies(ledger: str, folder: Path) -> Iterator[Copies]:
    if ledger == "SQLite":
        yield Copies(build(folder / "sqlite"), folder / "copy")
        return
    from postgres import postgres_server

    with postgres_server() as server:
        url = server.database()
        yield Copies(build(folder / "postgresql", url), folder / "copy", lambda: server.database(url))


def main() -> None:
    """Run the campaign and keep its rows; status 1 where something failed."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("inputs", 500), ("flips", 1000), ("kills", 200), ("races", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--ledgers", nargs="+", choices=LEDGERS, default=LEDGERS)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    results = Results(asked.out, asked.seed)
    rows = run(results, asked.inputs, asked.flips, asked.kills, asked.races, asked.ledgers)
    sys.exit(1 if any(row.failed for row in rows) else 0)


if __name__ == "__main__":
    main()
