"""Step `live`: a summary of the newest release and the chain that leads to it → reports/live.json."""

from __future__ import annotations

from expunge.evaluation.metrics import read_release_metrics
from expunge.project.files import write_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, is_purged
from expunge.releases.registration import registered
from expunge.settings import Params
from expunge.steps import step_main


def live(paths: Paths, params: Params, release: str) -> None:
    """Write which release is live, its verdict, and the figures of every release in the chain."""
    names = chain(paths)
    summary = {
        "release": release,
        "chain": names,
        "verdict": registered(paths, release).verdict,
        "releases": [_summary(paths, name) for name in names if name != BASE and not is_purged(paths, name)],
    }
    write_json(paths.live_summary, summary)
    print(f"live: {release}, {summary['verdict']}")


def _summary(paths: Paths, name: str) -> dict[str, object]:
    metrics = read_release_metrics(paths.release(name).metrics)
    unlearned = metrics.models.unlearned
    return {
        "release": name,
        "requests": list(metrics.requests),
        "method": metrics.method,
        "diagnosis": metrics.diagnosis,
        "passed": metrics.gate.passed,
        "forget_image_to_text_r1": unlearned.forget.image_to_text_r1,
        "retain_image_to_text_r1": unlearned.retain.image_to_text_r1,
    }


if __name__ == "__main__":
    step_main(live)
