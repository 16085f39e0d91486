"""What DVC takes to find that nothing has to be done, as the chain of releases grows → bench/results/chain.json.

`python -m bench.chain [COUNT …]` writes a project of stand-ins for each number of releases (1, 10, 50 and 100 by
default): the pipeline files that the library writes, a small file for every output, and DVC's record of them. Then
`dvc status` and `dvc repro` run, each in a process of its own, and again once older releases are folded; measured are
seconds, those that the processor spent on it (other work on the machine does not count), and how many stages
`dvc repro` looked at.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import yaml

from bench.machine import machine
from expunge.corpus.settings import CatalogParams
from expunge.lineage.dvc.fold import fold
from expunge.lineage.dvc.objects import opened
from expunge.project.files import write_bytes, write_json
from expunge.project.library import acknowledge
from expunge.project.paths import BASE, Paths
from expunge.releases.release import MethodChoice, Release
from expunge.releases.stages import bring_up_to_date
from expunge.requests.request import DeletionRequest, IdSelector

ROOT = Path(__file__).parent.parent
RESULTS = Path("bench/results/chain.json")
LENGTHS = (1, 10, 50, 100)
COMMANDS = ("status", "repro")


def main(lengths: tuple[int, ...]) -> None:
    """Measure every length and write the results."""
    found: dict[str, Any] = {"command": "python -m bench.chain " + " ".join(map(str, lengths)), "machine": machine()}
    found["lengths"] = {}
    for count in lengths:
        with tempfile.TemporaryDirectory(prefix="expunge-chain-") as folder:
            root = Path(folder)
            write_chain(root, count)
            whole = {name: measured(root, name) for name in COMMANDS}
            with contextlib.chdir(root):
                fold(Paths(Path(".")), set())
            found["lengths"][str(count)] = {"whole": whole, "folded": {name: measured(root, name) for name in COMMANDS}}
        print(count, found["lengths"][str(count)], flush=True)
        write_json(RESULTS, found)


def write_chain(root: Path, count: int) -> None:
    """A project in `root` with `count` releases whose stages have all run, as far as DVC can tell."""
    with contextlib.chdir(root):
        paths = Paths(Path("."))
        shutil.copy(ROOT / "params.yaml", paths.params)
        shutil.copy(ROOT / ".dvcignore", ".dvcignore")
        for command in (["git", "init", "--quiet", "--template="], [sys.executable, "-m", "dvc", "init", "--quiet"]):
            subprocess.run(command, check=True)
        acknowledge(paths)
        parent = BASE
        for number in range(1, count + 1):
            _describe(paths, f"r{number:03d}", parent, number)
            parent = f"r{number:03d}"
        write_bytes(paths.live, yaml.safe_dump({"live": parent}).encode())
        bring_up_to_date(paths, CatalogParams())
        with opened(paths) as repo:
            missing = [Path(out.fs_path) for out in repo.index.outs if not out.exists]
        for path in missing:
            if path.name == "registration.json":
                write_json(path, _registration(path.parent.name))
                continue
            write_bytes(path if path.suffix else path / "part", f"{path}\n".encode())
        with opened(paths) as repo:
            repo.commit(force=True)


def measured(root: Path, command: str) -> dict[str, float]:
    """Seconds, seconds of the processor, and stages that DVC looked at.

    Raises:
        RuntimeError: the command failed, or found something to do.
    """
    start = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-m", "dvc", command, "--verbose"], cwd=root, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    assert process.stdout is not None
    said = process.stdout.read().decode()
    _, status, usage = os.wait4(process.pid, 0)
    seconds = time.perf_counter() - start
    if os.waitstatus_to_exitcode(status) or "up to date" not in said:
        raise RuntimeError(said[-2000:])
    return {
        "seconds": round(seconds, 2),
        "cpu_seconds": round(usage.ru_utime + usage.ru_stime, 2),
        "stages": len(set(looked_at(said))),
    }


def looked_at(said: str) -> Iterator[str]:
    """Stages that DVC says it has looked at, in its verbose log."""
    return (found.group(1) for found in re.finditer(r"Stage '([^']+)' didn't change", said))


def _registration(name: str) -> dict[str, Any]:
    digests = ("release", "model", "parent_model", "forget", "description", "metrics", "catalog")
    about = {"release": name, "parent": BASE, "verdict": "passed", "method": "retrain_text", "data_version": "0" * 32}
    return (
        {f"{part}_digest": "0" * 64 for part in digests}
        | about
        | {"gold_model_digest": None, "requests": {}, "files": {}}
    )


def _describe(paths: Paths, name: str, parent: str, number: int) -> None:
    request = DeletionRequest(
        request_id=f"req-{number:04d}",
        selectors=(IdSelector(ids=(f"s{number:08d}",)),),
        basis="gdpr-art17",
        received_at=f"{date.today()}T00:00:00Z",
        due=date.today() + timedelta(days=30),
    )
    release = Release(
        release=name, parent=parent, method=MethodChoice(name="retrain_text"), gold=False, requests=(request,)
    )
    text = yaml.safe_dump(release.model_dump(mode="json"), sort_keys=False)
    write_bytes(paths.release(name).description, text.encode())


if __name__ == "__main__":
    main(tuple(map(int, sys.argv[1:])) or LENGTHS)
