"""The figures of a report, each with its table.

No figure shows a picture, a caption or an id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import altair as alt
import numpy as np

from expunge.evaluation.metrics import BaseFigures, BaseMetrics, Metrics, ReleaseMetrics, read_metrics
from expunge.models.curves import read_curve
from expunge.project.columns import read_table
from expunge.project.paths import BASE, Paths
from expunge.report.charts import HEIGHT, INK, Figure, Panel, by_kind, dashed, framed, pointed, rows, said
from expunge.report.panels import BINS, histogram, roc_panel
from expunge.report.tradeoff import tradeoff
from expunge.report.words import MODELS, SETS, SIGNALS

MAX_DOTS = 300
MAX_STEPS = 200
PARTS_OF_LOSS = 4
SHORT = {"original": "before", "unlearned": "this release", "retrained": "retrained"}


def figures_of(paths: Paths, release: str, metrics: Metrics, ancestors: Sequence[str] = ()) -> list[Figure]:
    """All figures that the files of `release` allow; a missing curve leaves its figure out.

    Args:
        ancestors: releases before this one, of which those still there are shown beside it.
    """
    where = paths.release(release)
    if isinstance(metrics, BaseMetrics):
        return [base_bars(metrics.model), *curves({"training": where.training_curve})]
    before = [metrics_of for name in ancestors if (metrics_of := _judged(paths, name))]
    return [
        similarity_histograms(where.similarities, metrics.expected_similarity),
        *roc_curves(where.roc, {name: figures.mia_auc for name, figures in metrics.models.there.items()}),
        *kept_pairs(where.similarities),
        tradeoff(metrics, before),
        *curves({"unlearning": where.unlearning_curve, "retraining": where.gold_curve}),
    ]


def base_bars(model: BaseFigures) -> Figure:
    """Recall and zero-shot accuracy of the base model on each of its sets."""
    groups = model.groups
    measures = {
        "image_to_text_r1": ("unlearned", "picture finds its caption first"),
        "zero_shot_top1": ("retrained", "class named right"),
    }
    data = [
        {
            "set": SETS[name],
            "measure": label,
            "value": (value := getattr(figures, key)),
            "said": f"{SETS[name]}, {label}: {value:.0%}",
        }
        for name, figures in groups.items()
        for key, (_, label) in measures.items()
    ]
    base = alt.Chart(rows(data)).encode(
        x=alt.X("value:Q", title=None, axis=None, scale=alt.Scale(domain=[0, 1.08])),
        y=alt.Y("set:N", title=None, sort=None, axis=alt.Axis(labelColor=INK, grid=False)),
        yOffset=alt.YOffset("measure:N", sort=None),
    )
    kinds = {label: kind for kind, label in measures.values()}
    bars = base.mark_bar(cornerRadius=2).encode(**by_kind("measure", kinds, dashes=False), **said())
    figures = base.mark_text(align="left", dx=6).encode(text=alt.Text("value:Q", format=".0%"))
    panel = Panel(
        f"Bars of recall and zero-shot accuracy on {len(groups)} sets.",
        framed(bars, figures, width=640, height=40 + 44 * len(groups)),
        wide=True,
    )
    table = [[SETS[name], *(f"{getattr(one, key):.3f}" for key in measures)] for name, one in groups.items()]
    return Figure(
        "sets",
        "What the base model can do",
        "Trained pictures should score high; held-out ones show how far the model generalises.",
        [panel],
        ["Set", *(label.capitalize() for _, label in measures.values())],
        table,
    )


def similarity_histograms(path: Path, expected: float | None = None) -> Figure:
    """How similar picture and caption are, pair by pair, for the forget set and for its neighbours."""
    found = _by_model(path)
    present = [name for name in MODELS if (name, "forget") in found]
    every = np.concatenate([found[key] for key in found if key[1] in ("forget", "neighbours")])
    edges = np.linspace(min(0.0, float(every.min())), max(1.0, float(every.max())), BINS + 1)
    panels, table = [], []
    for group, title in (("forget", "Forgotten"), ("neighbours", "Neighbouring")):
        values = {name: found[name, group] for name in present if (name, group) in found}
        means = ", ".join(f"{MODELS[name]} {own.mean():.2f}" for name, own in values.items())
        marks = []
        if expected is not None and group == "forget":
            at = alt.Chart(rows([{"x": expected, "said": f"expected of pairs never seen: {expected:.2f}"}])).encode(
                x="x:Q", **said()
            )
            marks = [
                at.mark_rule(),
                at.mark_text(align="left", dx=4, text="expected, never seen").encode(y=alt.value(8)),
            ]
        panels.append(
            histogram(
                f"Histogram of the {title.lower()} pairs' similarity. Means: {means}.",
                "similarity of picture and caption",
                {SHORT[name]: name for name in values},
                {SHORT[name]: own for name, own in values.items()},
                edges,
                *marks,
            )
        )
        table += [
            [
                title,
                MODELS[name],
                f"{len(own)}",
                f"{own.mean():.3f}",
                f"{own.std():.3f}",
                *(f"{value:.3f}" for value in np.quantile(own, (0.1, 0.5, 0.9))),
            ]
            for name, own in values.items()
        ]
    aim = "over the retrained model" if "retrained" in present else "around the dashed line"
    return Figure(
        "similarities",
        "How similar picture and caption are",
        f"On the left this release should lie {aim}: as similar as if never seen, not less. On the right, over the "
        "model before.",
        panels,
        ["Pairs", "Model", "Count", "Mean", "Deviation", "10 %", "Median", "90 %"],
        table,
    )


def roc_curves(path: Path, aucs: Mapping[str, float | None]) -> Iterator[Figure]:
    """What membership attackers reach, one panel per signal; nothing where there was nothing to attack."""
    table = read_table(path)
    model, signal = (np.array(table[name].to_pylist()) for name in ("model", "signal"))
    points = np.column_stack([table["false_positives"].to_numpy(), table["true_positives"].to_numpy()])
    if not len(points):
        return
    panels, shown = [], []
    for kind in [kind for kind in SIGNALS if kind in set(signal)]:
        corners, kinds = {}, {}
        for name in [name for name in MODELS if name in set(model)]:
            own = points[(model == name) & (signal == kind)]
            area = float(np.trapezoid(own[:, 1], own[:, 0]))
            series = f"{SHORT[name]} {area:.2f}"
            corners[series], kinds[series] = own, name
            low = own[own[:, 0] <= 0.01, 1].max(initial=0.0)
            exact = aucs.get(name) if kind == "loss" else None
            shown.append([SIGNALS[kind], MODELS[name], f"{area if exact is None else exact:.3f}", f"{low:.1%}"])
        label = f"ROC curves of the attack by {SIGNALS[kind]}. Areas under the curves: {', '.join(kinds)}."
        panels.append(roc_panel(label, f"never seen, called members (attack by {SIGNALS[kind]})", kinds, corners))
    yield Figure(
        "attacks",
        "Can an attacker tell who was in the data?",
        "Curves of forgotten pairs against pairs never seen. A model that remembers bends to the upper left; this "
        "release should follow the retrained model, which often lies below the diagonal, since forgotten pairs and "
        "pairs never seen are not alike.",
        panels,
        ["Attack by", "Model", "AUC", "Caught at 1 % false alarms"],
        shown,
    )


def kept_pairs(path: Path) -> Iterator[Figure]:
    """Each neighbouring pair's similarity before and after: a loss lies below the diagonal."""
    found = _by_model(path)
    before = found.get(("original", "neighbours"))
    if before is None or not len(before):
        return
    chosen = np.unique(np.linspace(0, len(before) - 1, min(MAX_DOTS, len(before))).round().astype(int))
    others = {name: found[name, "neighbours"] for name in ("unlearned", "retrained") if (name, "neighbours") in found}
    low = float(np.floor(10 * min(float(own.min()) for own in (before, *others.values()))) / 10)
    scale = alt.Scale(domain=[low, 1])
    panels, table = [], []
    for name, own in others.items():
        lost, change = float((own < before - 0.1).mean()), own - before
        data = [{"before": round(float(before[row]), 3), "after": round(float(own[row]), 3)} for row in chosen]
        dots = (
            alt.Chart(rows(data))
            .transform_calculate(said="format(datum.before, '.2f') + ' → ' + format(datum.after, '.2f')")
            .mark_circle(size=22, opacity=1, color=f"var(--{name})")
            .encode(
                x=alt.X("before:Q", title="similarity before", scale=scale),
                y=alt.Y("after:Q", title=f"similarity, {MODELS[name]}", scale=scale),
                **said(),
            )
        )
        panels.append(
            Panel(
                f"Scatter of neighbours' similarity, before against {MODELS[name]}: {lost:.0%} lost more than 0.1.",
                framed(dashed((low, low), (1, 1)), dots),
            )
        )
        table.append(
            [MODELS[name], f"{change.mean():+.3f}", f"{change.std():.3f}", f"{lost:.1%}", f"{change.min():+.3f}"]
        )
    yield Figure(
        "neighbours",
        "What became of the neighbours",
        "Each dot is a retained pair near to what was forgotten. Dots below the diagonal lost similarity. "
        + (
            "Both clouds should look alike: the right one is a model retrained without the data."
            if len(others) > 1
            else "The cloud should lie along the diagonal."
        ),
        panels,
        ["Model", "Mean change", "Deviation", "Lost more than 0.1", "Worst"],
        table,
    )


def curves(found: Mapping[str, Path]) -> Iterator[Figure]:
    """Loss by step, one panel per file; nothing where no file is there."""
    read = {name: steps for name, path in found.items() if (steps := read_curve(path, MAX_STEPS))}
    if not read:
        return
    panels, table = [], []
    for name, steps in read.items():
        terms = [key for key in steps[0][1] if key not in ("loss", "epoch", "learning_rate")][:PARTS_OF_LOSS]
        kinds = {"loss": "unlearned"} | {term: f"term-{number}" for number, term in enumerate(terms, 1)}
        data = [
            {
                "step": step,
                "value": float(f"{row[key]:.4g}"),
                "series": key,
                "said": f"{key} at step {step}: {row[key]:.3g}",
            }
            for key in kinds
            for step, row in steps
            if key in row
        ]
        curve = alt.Chart(rows(data)).encode(
            x=alt.X("step:Q", title=f"step of {name}", scale=alt.Scale(nice=False)), y=alt.Y("value:Q", title=None)
        )
        lines = curve.mark_line().encode(description="series:N", **by_kind("series", kinds))
        first, last = steps[0][1]["loss"], steps[-1][1]["loss"]
        panels.append(
            Panel(
                f"Loss of {name}: from {first:.2f} to {last:.2f} in {steps[-1][0]} steps.",
                framed(lines, pointed(curve), height=HEIGHT - 20),
            )
        )
        table.append([name, f"{steps[-1][0]}", f"{first:.3f}", f"{last:.3f}"])
    yield Figure(
        "curves",
        "How the loss fell",
        "Every curve should level out; one that still falls steeply, or rises, means that the run was too short or its "
        "learning rate too high. A jump is where another part of the recipe begins, with larger pictures or batches.",
        panels,
        ["Run", "Steps", "Loss at first", "Loss at last"],
        table,
    )


def _by_model(path: Path) -> dict[tuple[str, str], np.ndarray]:
    """(model, set) → similarities in the order of the file."""
    table = read_table(path)
    model, group, similarity = (np.array(table[name].to_pylist()) for name in ("model", "set", "similarity"))
    keys = sorted(set(zip(model.tolist(), group.tolist(), strict=True)))
    return {(name, own): similarity[(model == name) & (group == own)] for name, own in keys}


def _judged(paths: Paths, name: str) -> ReleaseMetrics | None:
    """Metrics of an ancestor; None of `base`, and where a purge has removed them."""
    path = paths.release(name).metrics
    found = read_metrics(path) if name != BASE and path.is_file() else None
    return found if isinstance(found, ReleaseMetrics) else None
