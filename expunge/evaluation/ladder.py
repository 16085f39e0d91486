"""The ladder: methods are tried in turn, from the parent, until the model of one passes the gate.

A cheap method serves most requests; one that it cannot serve must not get stuck. So a rung that fails is kept as
failed, with its reasons, and the next is tried in the same run. What stands on the last rung is judged by the step
`evaluate` like any release. Where that is `retrain` and a gold standard was trained anyway, it is the release.
"""

from __future__ import annotations

import shutil
from typing import Any

from expunge.evaluation.inputs import read_inputs
from expunge.evaluation.release import judge_release
from expunge.models import clip
from expunge.models.files import CONFIG, PARTS, WEIGHTS, beside_weights
from expunge.models.precision import settled
from expunge.project.files import atomic_path, read_json, rounded, write_json
from expunge.project.paths import Paths
from expunge.releases.chain import load_release
from expunge.releases.release import MethodChoice, Release
from expunge.selection.sets import read_forget, read_retain
from expunge.settings import Params
from expunge.unlearning.release import unlearn_release

GOLD = "retrain"


def climb(paths: Paths, params: Params, release: str) -> None:
    """Make the model of `release` by the first of its methods that passes the gate, or by the last of them.

    Writes `reports/R/attempts.json`: for each method that was tried its name and, but for one on the last rung,
    `passed`, `diagnosis` and the names of the checks that it `failed`.
    """
    params, description = settled(paths, params), load_release(paths, release)
    attempts: list[dict[str, Any]] = []
    for rung in description.rungs:
        _make(paths, params, description, rung)
        attempts.append({"method": rung.name})
        if rung == description.rungs[-1]:
            break
        attempts[-1] |= _verdict(paths, params, description)
        if attempts[-1]["passed"]:
            break
        print(f"unlearn: {rung.name} fails the gate ({', '.join(attempts[-1]['failed'])}); the next method is tried")
    write_json(paths.release(release).attempts, rounded(attempts))


def _make(paths: Paths, params: Params, description: Release, rung: MethodChoice) -> None:
    where = paths.release(description.release)
    if rung.name != GOLD or not description.gold:
        unlearn_release(paths, params, description.release, rung)
        return
    parts = where.gold / PARTS
    beside = [*beside_weights(where.gold), *([parts] if parts.is_file() else [])]
    for path in (where.gold / WEIGHTS, where.gold / CONFIG, *beside):
        with atomic_path(where.model / path.name) as partial:
            shutil.copyfile(path, partial)
    with atomic_path(where.unlearning_curve) as partial:
        shutil.copyfile(where.gold_curve, partial)
    before = clip.load(paths.release(description.parent).model).model.state_dict()
    after = clip.load(where.model).model.state_dict()
    training = read_json(where.gold_training)
    write_json(
        where.unlearning,
        {
            "method": GOLD,
            "parameters": {},
            **{key: training[key] for key in ("seconds", "peak_memory_mb", "steps", "precision")},
            "forget": sum(row.release == description.release for row in read_forget(where.forget)),
            "retain": len(read_retain(where.retain)),
            "parameters_changed": sum(int((after[name] != value).sum()) for name, value in before.items()),
        },
    )
    print(f"unlearn: {GOLD}, the gold standard is the release, model {clip.model_digest(where.model)[:12]}")


def _verdict(paths: Paths, params: Params, description: Release) -> dict[str, Any]:
    found = judge_release(read_inputs(paths, params, description, [description.parent]), params).verdict
    failed = [check["name"] for check in found["gate"]["checks"] if not check["passed"]]
    return {"passed": found["gate"]["passed"], "diagnosis": found["diagnosis"], "failed": failed}
