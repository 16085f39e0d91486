"""A small project on disk: this repository's pipeline and code, about 200 samples, a model that trains in seconds."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from contextlib import ExitStack
from copy import deepcopy
from functools import cache
from pathlib import Path

import yaml

from forks import forks

ROOT = Path(__file__).parent.parent
SAMPLES = 200
TINY_MODEL = {
    "embed_dim": 32,
    "vision_cfg": {"layers": [1, 1, 1, 1], "width": 8, "image_size": 32, "head_width": 32},
    "text_cfg": {"context_length": 16, "vocab_size": 49408, "width": 32, "heads": 2, "layers": 1},
}


def tiny_params(**blocks: dict) -> dict:
    """params.yaml for a corpus of about 200 samples; `blocks` override whole settings inside a block."""
    params = yaml.safe_load((ROOT / "params.yaml").read_text(encoding="utf-8"))
    params["catalog"] |= {"limit": SAMPLES, "image_size": 32, "rows_per_shard": 64}
    params["catalog"]["holdout"] = {"calibration": 0.15, "test_concepts": 0.1, "test_variants": 0.1}
    params["model"] = deepcopy(TINY_MODEL)
    params["train"] |= {"epochs": 12, "batch_size": 32, "checkpoint_epochs": 2, "small_pictures": None}
    params["train"]["text_finish"] = {"steps": 8, "batch_size": 32}
    params["select"] = {"neighbours": 20, "random": 40}
    _few_steps(params)
    for name, values in blocks.items():
        params[name] = params[name] | values if isinstance(params.get(name), dict) else values
    return params


def _few_steps(params: dict) -> None:
    """In all methods and in relearning."""
    for name, values in params["unlearn"]["methods"].items():
        for block in (values, *(part for part in values.values() if isinstance(part, dict))):
            if "batch_size" in block:  # what trains on all that stays
                block |= {"steps": 6, "batch_size": 32}
        if "batch_size" in values:
            continue
        if {"steps", "learning_rate"} <= values.keys() and name != "text_projection":  # what descends in the loop
            values |= {"steps": 6, "retain_batch": 32}
    params["evaluate"]["relearn"] = {"max_steps": 3, "benign_steps": 3}


def lenient_gate() -> dict[str, float]:
    """A limit that any model meets: for tests of what follows a passed gate."""
    return {"spreads": 1000.0, "stand_ins": 1, "few_captions": 0.5}


def make_project(folder: Path, params: dict | None = None, sources: bool = True) -> Path:
    """Lay out a project in `folder` (a git and DVC repository without releases) and return it.

    Args:
        sources: put the library's sources into it, as in the library's own repository.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if sources:
        shutil.copytree(ROOT / "expunge", folder / "expunge", ignore=shutil.ignore_patterns("__pycache__"))
    run(folder, "expunge", "init", ".", "--yes")
    write_params(folder, params or tiny_params())
    run(folder, "git", "add", "--all")
    run(folder, "git", "commit", "--quiet", "--message", "A small project")
    return folder


def own_params(project: Path) -> dict:
    """params.yaml of a project on data of its own as `expunge init` wrote it, but for a tiny model and few steps."""
    params = yaml.safe_load((project / "params.yaml").read_text(encoding="utf-8"))
    params["catalog"] |= {"image_size": 32, "rows_per_shard": 32}
    params["catalog"]["holdout"] = {"calibration": 0.15, "test_concepts": 0.15}
    params["model"] = deepcopy(TINY_MODEL)
    params["train"] |= {"epochs": 3, "batch_size": 32, "learning_rate": 0.002}
    params["loading"] = {"workers": 0}
    params["select"] = {"neighbours": 20, "random": 40}
    params["gate"] |= lenient_gate()
    params["release"] = {"methods": ["retrain_text"], "gold": False}
    _few_steps(params)
    return params


def write_params(folder: Path, params: dict) -> None:
    """Replace the project's params.yaml."""
    (folder / "params.yaml").write_text(yaml.safe_dump(params, sort_keys=False), encoding="utf-8")


running = ExitStack()
"""What is stopped when the tests end."""


@cache
def commands() -> Path:
    """The folder of this environment's commands, which are forks of one process."""
    return running.enter_context(forks())


def search_path() -> str:
    """`PATH` of who has this environment, the quick commands first."""
    return os.pathsep.join([str(commands()), str(Path(sys.executable).parent), os.environ["PATH"]])


def run(folder: Path, *command: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
    """Run a command of this environment in `folder` and return what it printed."""
    path = search_path()
    result = subprocess.run(
        command,
        cwd=folder,
        env=os.environ | {"PATH": path} | environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=1500,
    )
    if check and result.returncode:
        raise AssertionError(f"{' '.join(command)} exited with {result.returncode}\n{result.stdout}\n{result.stderr}")
    return result


def approved_request(project: Path, *selector: str) -> str:
    """Record and approve a request as a user does; returns its id."""
    out = run(project, "expunge", "request", "add", *selector, "--basis", "copyright").stdout
    request = out.splitlines()[-1]
    run(project, "expunge", "request", "approve", request, "--by", "tests")
    return request
