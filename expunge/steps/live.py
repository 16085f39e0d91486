"""Step `live`: a summary of the newest release and the chain that leads to it → reports/live.json."""

from __future__ import annotations

from expunge.project.files import read_json, write_json
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, is_purged
from expunge.settings import Params
from expunge.steps import step_main


def live(paths: Paths, params: Params, release: str) -> None:
    """Write which release is live, its verdict, and the figures of every release in the chain."""
    names = chain(paths)
    summary = {
        "release": release,
        "chain": names,
        "verdict": read_json(paths.release(release).registration)["verdict"],
        "releases": [_summary(paths, name) for name in names if name != BASE and not is_purged(paths, name)],
    }
    write_json(paths.live_summary, summary)
    print(f"live: {release}, {summary['verdict']}")


def _summary(paths: Paths, name: str) -> dict:
    metrics = read_json(paths.release(name).metrics)
    unlearned = metrics["models"]["unlearned"]
    return {
        "release": name,
        "requests": metrics["requests"],
        "method": metrics["method"],
        "diagnosis": metrics["diagnosis"],
        "passed": metrics["gate"]["passed"],
        "forget_image_to_text_r1": unlearned["forget"]["image_to_text_r1"],
        "retain_image_to_text_r1": unlearned["retain"]["image_to_text_r1"],
    }


if __name__ == "__main__":
    step_main(live)
