"""The sections of docs/benchmark.md that tell what was found on the small corpora."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

from bench.forgetting import agreement, epsilon, ranked, results, tune
from bench.forgetting.scenarios import REPORTED
from bench.forgetting.small import BLOCKS, MEDIUM
from bench.forgetting.tables import table


def small_sections() -> list[str]:
    """Those that have results: ε, the judge without gold, the search and what it led to."""
    return [
        epsilon_section(epsilon.FOLDER),
        agreement_section(agreement.FOLDER, agreement.WHOLE_FOLDER),
        tuning_section(tune.FOLDER),
        ranked_section(ranked.FOLDER),
    ]


def epsilon_section(folder: Path) -> str:
    """Forgetting quality by method; empty where nothing was measured."""
    rows = epsilon.summary(folder)
    if not rows:
        return ""
    most = max(row["models"] for row in rows)
    cells = [
        [
            f"`{row['model']}`" if row["model"] in epsilon.METHODS else row["model"],
            str(row["models"]),
            f"**{row['quality']:.3f}**",
            "∞" if math.isinf(row["median"]) else f"{row['median']:.2f}",
            f"{row['separated']:.2f}",
            f"{row['similarity']:.3f}",
            f"{row['seconds']:.1f}",
        ]
        for row in rows
    ]
    head = ["models", "how many", "forgetting quality", "median ε", "pairs told apart without error", "forget cosine"]
    return f"""## The competition's question: forgetting quality as an ε

The NeurIPS unlearning competition ([arXiv 2406.09073](https://arxiv.org/abs/2406.09073)) asks of each forgotten pair
whether an attacker can tell {most} unlearned models from {most} retrainings by how surely the picture finds its
caption. Quality is 1 where he cannot, 0 where he always can; each step of 0.5 in ε halves it. With so few models
chance alone makes ε positive: read every row against *{epsilon.AGAIN}*, other retrainings with other seeds. This is a
**small corpus** ({BLOCKS["catalog"]["limit"]} pictures, {rows[0]["pairs"]} to be forgotten, a class) and a small model
that trains in seconds, so that it could be trained often enough; every unlearned model began from an original of its
own. `python -m bench.forgetting.epsilon` measures it.

{table([*head, "seconds"], cells)}"""


def agreement_section(folder: Path, whole: Path) -> str:
    """Verdicts with and without a gold standard; empty where nothing was judged."""
    rows = agreement.summary(folder)
    if not rows:
        return ""
    scenarios = [one.name for one in REPORTED if results.of_kind(agreement.AGREEMENT, [one.name], whole)]
    return f"""## The judge without a gold standard

The same models before two judges: one compares with a gold standard of the parent's seed, one with the stand-ins that
`release.gold: false` makes do with. {_agreed(rows)} *{agreement.RETRAINED}* are true retrainings
with another seed; *{agreement.UNTOUCHED}* and *{agreement.SWAPPED}* are impostors. Measured on the small corpus of the
section before by `python -m bench.forgetting.agreement`.

{_verdicts(rows)}{_on_the_whole(agreement.summary(whole, scenarios), scenarios)}"""


def _on_the_whole(rows: list[dict[str, Any]], scenarios: list[str]) -> str:
    if not rows:
        return ""
    return f"""
The same on the whole corpus, one seed, {", ".join(f"`{name}`" for name in scenarios)}
(`python -m bench.forgetting.agreement --whole 3`; no further retraining among them). {_agreed(rows)}

{_verdicts(rows)}"""


def _agreed(rows: list[dict[str, Any]]) -> str:
    total, agreed = sum(row["judged"] for row in rows), sum(row["agreed"] for row in rows)
    return f"They agree on {agreed} of {total}."


def _verdicts(rows: list[dict[str, Any]]) -> str:
    cells = [
        [
            row["model"] if row["model"] in (agreement.RETRAINED, *agreement.IMPOSTORS) else f"`{row['model']}`",
            str(row["judged"]),
            *(str(row[key]) for key in ("by_gold", "by_estimate", "agreed", "passed_wrongly", "refused_wrongly")),
        ]
        for row in rows
    ]
    head = ["model", "judged", "passed with gold", "passed without", "agreed", "only without gold", "only with gold"]
    return table(head, cells)


def tuning_section(folder: Path) -> str:
    """What the search found; empty where nothing was searched."""
    found = [one for corpus in (tune.WHOLE, tune.MEDIUM) for one in results.of_kind(tune.TUNING, [corpus], folder)]
    if not found:
        return ""
    rows = [
        [
            f"`{one.method.partition(',')[0]}`",
            one.content["tower"],
            one.scenario,
            " ".join(f"`{name}`" for name in one.content["scenarios"]),
            str(one.content["trials"]),
            f"{one.content['as_shipped']:.1f}",
            f"{one.content['best']:.1f}",
        ]
        for one in sorted(found, key=lambda one: one.content["best"])
    ]
    head = ["method", "weights", "corpus", "scenarios", "trials", "average gap as shipped", "best found"]
    return f"""## The same search for all

Hyperparameters drawn by one rule around those of `params.yaml`, the same number of trials each, on validation
scenarios only (`python -m bench.forgetting.tune --medium`), on a **medium corpus** of {MEDIUM["catalog"]["limit"]}
pictures and the small model of the sections above. The best ones are in bench/results/tuning/; `params.yaml` and the
tables above keep what was shipped. The best of several draws looks better than it is: the next table has other sets.

{table(head, rows)}"""


def ranked_section(folder: Path) -> str:
    """Methods with what the search found, on other sets; empty where nothing was measured."""
    rows = ranked.ranking(folder)
    if not rows:
        return ""
    cells = [
        [
            f"*{row['method']} with another seed*" if row["method"] == ranked.AGAIN else f"`{row['method']}`",
            str(row["runs"]),
            f"**{row['average_gap']:.1f}**",
            *(f"{row[key]:.3f}" for key in ranked.ALL[1:]),
            f"{row['cheaper']:.1f}×",
        ]
        for row in rows
    ]
    names = " ".join(f"`{name}`" for name in ranked.SETS)
    head = ["method", "runs", "average gap", *(key.replace("_", " ") for key in ranked.ALL[1:]), "cheaper"]
    return f"""## One bar for all

Every method with the best that the search found for it, on sets that nothing was searched on ({names}), mean distance
from a gold standard of the same seed, on the same medium corpus (`python -m bench.forgetting.ranked`).

{table(head, cells)}"""
