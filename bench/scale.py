"""What a release costs as the catalog grows → bench/results/scale.json and docs/images/scale.svg.

`python -m bench.scale [COUNT …]` makes up a project for each number of samples (10,000 and 100,000 by default): a
catalog with short captions, small pictures and hashes, a small model of width 512, and the base model's store of
made-up vectors. Then the real steps of a release that forgets 32 samples run in processes of their own, the gold
standard aside, and so does the search for near-duplicates; of each the seconds, those that the processor spent on it
(other work on the machine does not count) and the peak memory are measured. The results hold the machine, and for each
step the exponent by which its processor time grows from one size to the next, what a process takes to start left out.

A run that was killed goes on at the step it was at: projects and costs lie under the temporary folder until a size is
done, and sizes that the results have from this machine and code are not measured again.
"""

from __future__ import annotations

import math
import os
import shutil
import subprocess
import sys
import tempfile
import time
from datetime import date, timedelta
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from bench.machine import machine
from bench.synthetic import write_synthetic
from expunge.corpus.catalog import Catalog
from expunge.corpus.pictures import decode_image
from expunge.embeddings.search import load_embeddings, picture_encoder
from expunge.models import clip
from expunge.near_duplicates.find import near_duplicates
from expunge.project.files import digest_of, read_json, sha256_file, write_bytes, write_json
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from expunge.releases.release import MethodChoice, Release
from expunge.requests.request import DeletionRequest, IdSelector
from expunge.settings import Params

RESULTS = Path("bench/results/scale.json")
CHART = Path("docs/images/scale.svg")
SIZES = (10_000, 100_000)
STEPS = ("select", "unlearn", "embed", "index", "evaluate", "report", "register")
FORGOTTEN = 32
SEED = 0
WIDTH = 512


def main(sizes: tuple[int, ...]) -> None:
    """Measure every size and add it to the results."""
    about: dict[str, Any] = {
        "machine": machine(),
        "threads": os.environ.get("OMP_NUM_THREADS", "all"),
        "seed": SEED,
        "width": WIDTH,
        "forgotten": FORGOTTEN,
        "library": _library(),
        "commit": _commit(),
    }
    for count in sizes:
        if str(count) in _done(about):
            continue
        root = Path(tempfile.gettempdir()) / f"expunge-scale-{about['library'][:12]}-{count}"
        measured = _measured(root, count)
        done = _done(about) | {str(count): measured}  # another run may have added a size meanwhile
        command = "python -m bench.scale " + " ".join(sorted(done, key=int))
        results = {"command": command, **about, "sizes": done, "exponents": _exponents(done)}
        write_json(RESULTS, results)
        chart(results)
        shutil.rmtree(root)
    print(f"Wrote {RESULTS}.")


def _done(about: dict[str, Any]) -> dict[str, Any]:
    """The sizes that the results have already, from this machine and code."""
    known = read_json(RESULTS) if RESULTS.is_file() else {}
    return known["sizes"] if all(known.get(key) == about[key] for key in about if key != "commit") else {}


def _library() -> str:
    """Digest of the library's sources, by which a run knows whether what it measured still holds."""
    return digest_of({str(path): sha256_file(path) for path in sorted(Path("expunge").rglob("*.py"))})


def _commit() -> str:
    """The commit that is checked out, and whether files differ from it."""
    said = subprocess.run(["git", "describe", "--always", "--dirty", "--abbrev=12"], capture_output=True, text=True)
    return said.stdout.strip()


def preview(root: Path) -> None:
    """Look for near-duplicates of what the release forgets, as a preview does."""
    paths = Paths(root)
    selected = {f"s{number:08d}" for number in _chosen(len(Catalog(paths.catalog)))}
    near_duplicates(
        Catalog(paths.catalog),
        selected,
        set(),
        load_embeddings(paths, BASE),
        picture_encoder(paths, BASE),
        decode_image,
    )


def _measured(root: Path, count: int) -> dict[str, Any]:
    """Seconds and peak memory in MiB of every step with `count` samples."""
    paths, kept = Paths(root), root / "costs.json"
    if not kept.is_file():
        shutil.rmtree(root, ignore_errors=True)
        root.mkdir()
        params = _params(root)
        write_synthetic(paths, clip.create(params.model, SEED), count, SEED)
        _write_release(paths, count)
        write_json(kept, {})
    costs: dict[str, Any] = read_json(kept)
    commands: dict[str, tuple[str, ...]] = {name: ("-m", f"expunge.steps.{name}", "r001") for name in STEPS}
    commands["near_duplicates"] = ("-m", "bench.scale", "--preview", str(root))
    commands["start"] = ("-c", "import expunge.steps.evaluate")
    for name, command in commands.items():
        if name not in costs:
            costs[name] = _run(root, *command)
            write_json(kept, costs)
            print(f"{count:,}: {name} {costs[name]}", flush=True)
    encoded = read_json(paths.release("r001").embedding_cost)
    index = read_json(paths.release("r001").index / "origin.json")
    return {
        "steps": costs,
        "encoded": {key: encoded[key] for key in ("images", "texts", "kept")},
        "index": index["recall"],
    }


def _params(root: Path) -> Params:
    values = yaml.safe_load(Path("params.yaml").read_text(encoding="utf-8"))
    values["model"] = {
        "embed_dim": WIDTH,
        "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "head_width": 32},
        "text_cfg": {"context_length": 20, "vocab_size": 49408, "width": 64, "heads": 2, "layers": 1},
    }
    values["train"]["templates"] = ["{caption}"]
    values["unlearn"]["methods"]["retrain_text"] |= {"steps": 16}
    values["evaluate"]["relearn"] = {"max_steps": 2}
    values["gate"] |= {"stand_ins": 1}
    write_bytes(root / "params.yaml", yaml.safe_dump(values, sort_keys=False).encode())
    return Params.model_validate(values)


def _chosen(count: int) -> list[int]:
    """The samples to forget: trained ones, spread over the catalog."""
    return [number - number % 10 for number in np.linspace(10, count - 11, FORGOTTEN).astype(int).tolist()]


def _write_release(paths: Paths, count: int) -> None:
    acknowledge(paths)
    request = DeletionRequest(
        request_id="req-0001",
        selectors=(IdSelector(ids=tuple(f"s{number:08d}" for number in _chosen(count))),),
        basis="gdpr-art17",
        received_at=f"{date.today()}T00:00:00Z",
        due=date.today() + timedelta(days=30),
    )
    release = Release(
        release="r001", parent=BASE, method=MethodChoice(name="retrain_text"), gold=False, requests=(request,)
    )
    where = paths.release("r001")
    write_bytes(where.description, yaml.safe_dump(release.model_dump(mode="json"), sort_keys=False).encode())
    write_bytes(paths.live, yaml.safe_dump({"live": "r001"}).encode())


def _run(root: Path, *arguments: str) -> dict[str, float]:
    """Seconds, seconds of the processor and peak memory of one Python process.

    Raises:
        RuntimeError: it failed.
    """
    environment = os.environ | {"PYTHONPATH": str(Path.cwd())}
    start = time.perf_counter()
    with open(root / "log", "ab") as log:
        process = subprocess.Popen([sys.executable, *arguments], cwd=root, env=environment, stdout=log, stderr=log)
        _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise RuntimeError((root / "log").read_text(encoding="utf-8")[-2000:])
    spent = round(usage.ru_utime + usage.ru_stime, 1)
    return {"seconds": round(time.perf_counter() - start, 1), "cpu_seconds": spent, "peak_mib": usage.ru_maxrss >> 10}


def _exponents(sizes: dict[str, Any]) -> dict[str, dict[str, float]]:
    """For each step the exponent of its time between each size and the next: 1 is linear."""
    found: dict[str, dict[str, float]] = {}
    for before, after in pairwise(sorted(sizes, key=int)):
        times = int(after) / int(before)
        found[f"{before} to {after}"] = {
            name: round(math.log(_own(sizes[after], name) / _own(sizes[before], name)) / math.log(times), 2)
            for name in sizes[after]["steps"]
            if name != "start"
        }
    return found


def chart(results: dict[str, Any]) -> None:
    """Processor seconds of each step by size, both on logarithmic axes; a straight line is a power of the size."""
    from matplotlib import rc_context  # which the process that measures a preview does without
    from matplotlib.figure import Figure

    sizes = sorted(results["sizes"], key=int)
    with rc_context({"svg.hashsalt": "expunge", "svg.fonttype": "none"}):
        figure = Figure(figsize=(7, 4.2), layout="constrained")
        axes = figure.add_subplot(
            xscale="log", yscale="log", xlabel="samples", ylabel="processor seconds, start left out"
        )
        for name in [name for name in results["sizes"][sizes[0]]["steps"] if name != "start"]:
            there = [size for size in sizes if name in results["sizes"][size]["steps"]]
            seconds = [_own(results["sizes"][size], name) for size in there]
            axes.plot([int(size) for size in there], seconds, marker="o", label=name.replace("_", "-"))
        axes.grid(alpha=0.3)
        figure.legend(loc="outside right upper", frameon=False)
        figure.savefig(CHART, metadata={"Date": None})


def _own(size: dict[str, Any], name: str) -> float:
    """Processor seconds of a step beyond what its process takes to start, a tenth at least."""
    return max(0.1, size["steps"][name]["cpu_seconds"] - size["steps"]["start"]["cpu_seconds"])


if __name__ == "__main__":
    if sys.argv[1:2] == ["--preview"]:
        preview(Path(sys.argv[2]))
    else:
        main(tuple(map(int, sys.argv[1:])) or SIZES)
