"""Campaign: flips, kills and races against ledger, releases, purge and backup. Nothing lost, doubled or stuck.

Models are stand-ins of a few bytes, so that a kill costs a second; ledger, locks, certificates, lists, repair and
verification are the real ones. Seeds are fixed; a result that is there already is not measured again.

    python -m bench.hostile.stuck [--flips 1000 --kills 200 --races 100]   → bench/results/hostile/stuck.json
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from bench.hostile.scene import ROOT, Scene, build, scene_at

Row = dict[str, Any]
RESULTS = ROOT / "bench" / "results" / "hostile" / "stuck.json"


def rows(flips: int = 1000, kills: int = 200, races: int = 100, seed: int = 0, folder: Path | None = None) -> list[Row]:
    """What was tried, what held and what failed, one row a kind of attack; failures are listed by place."""
    from bench.hostile import flipping, killing, racing

    folder = folder or Path(tempfile.mkdtemp(prefix="expunge-hostile-"))
    template = folder / "template"
    if not template.is_dir():
        build(template)
    parts: list[tuple[int, Callable[[Scene, int, random.Random], list[Row]]]] = [
        (flips, flipping.rows),
        (kills, killing.rows),
        (races, racing.rows),
    ]
    found: list[Row] = []
    for count, part in parts:
        copy = folder / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(template, copy)
        found += part(scene_at(copy), count, random.Random(seed)) if count else []
        shutil.rmtree(copy, ignore_errors=True)
    return found


def main() -> None:
    """Run the campaign and keep its rows."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    for name, count in (("flips", 1000), ("kills", 200), ("races", 100), ("seed", 0)):
        parser.add_argument(f"--{name}", type=int, default=count)
    parser.add_argument("--out", type=Path, default=RESULTS)
    asked = parser.parse_args()
    wanted = {name: getattr(asked, name) for name in ("flips", "kills", "races", "seed")}
    known = json.loads(asked.out.read_text()) if asked.out.is_file() else {"rows": []}
    with tempfile.TemporaryDirectory(prefix="expunge-hostile-") as folder:
        for part in ("flips", "kills", "races"):
            if known.get(part) == wanted[part] and known.get("seed") == wanted["seed"]:
                continue
            alone = {name: 0 for name in ("flips", "kills", "races")} | {part: wanted[part]}
            measured = rows(**alone, seed=wanted["seed"], folder=Path(folder))
            kept = [row for row in known["rows"] if row["part"] != part]
            known = {**known, "seed": wanted["seed"], part: wanted[part], "rows": [*kept, *measured]}
            asked.out.parent.mkdir(parents=True, exist_ok=True)
            asked.out.write_text(json.dumps(known, indent=2) + "\n")
            for row in measured:
                print(f"{row['what']}: {row['tried']} tried, {row['held']} held, {row['failed']} failed", flush=True)
    sys.exit(1 if any(row["failed"] for row in known["rows"]) else 0)


if __name__ == "__main__":
    main()
