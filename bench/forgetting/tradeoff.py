"""Forgetting against retention of the benchmark's methods → expunge/report/benchmark.json, the grey dots of reports.

Each recorded run is judged by the gold standard of its seed, as a release is. A run's two figures are the farthest of
its gaps on what is forgotten and its worst loss on what stays, both in spreads; a method's are the medians over all its
runs, those of the earlier recipe where the present one has none: `python -m bench.forgetting.tradeoff`.
"""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path
from statistics import median

from bench.forgetting.results import EARLIER
from bench.forgetting.scenarios import SCENARIOS
from bench.forgetting.spread import judged_runs, scenarios
from expunge.project.files import rounded, write_json
from expunge.report.tradeoff import place

FILE = Path("expunge/report/benchmark.json")


def main() -> None:
    """Write the file."""
    found: dict[str, list[tuple[float, float]]] = defaultdict(list)
    runs = list(judged_runs(scenarios()))
    known = {method for method, _ in runs}
    runs += [run for run in judged_runs(list(SCENARIOS), EARLIER) if run[0] not in known]
    for method, checks in runs:
        found[method].append(place({check["name"]: check["value"] for check in checks}))
    methods = [
        {
            "method": method,
            "runs": len(places),
            "forgetting": median(x for x, _ in places),
            "retention": median(y for _, y in places),
        }
        for method, places in sorted(found.items())
    ]
    origin = (
        "median over the runs in bench/results/forgetting*, on the embedded corpus; see bench/forgetting/tradeoff.py"
    )
    write_json(FILE, {"origin": origin, "methods": rounded(methods, 4)})


if __name__ == "__main__":
    main()
