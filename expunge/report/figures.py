"""The figures of a report: inline SVG that says the same by day, by night and on paper, each with its table.

No figure shows a picture, a caption or an id.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np

from expunge.evaluation.metrics import BaseFigures, BaseMetrics, Metrics, ReleaseMetrics, read_metrics
from expunge.models.curves import read_curve
from expunge.project.columns import read_table
from expunge.project.paths import BASE, Paths
from expunge.report.svg import HEIGHT, Panel, Scale, standalone
from expunge.report.tradeoff import Spot, benchmark, chart, spot
from expunge.report.words import MODELS, SETS, SIGNALS

BINS = 24
MAX_DOTS = 300
MAX_STEPS = 200
PARTS_OF_LOSS = 4


@dataclass(frozen=True)
class Figure:
    """One figure, with what a reader needs who sees it for the first time or not at all.

    Attributes:
        name: file name without ending, and the place in the page that it belongs to.
        caption: one sentence on how to read it.
        panels: drawings, side by side where there is room.
        head, rows: the same as a table.
    """

    name: str
    title: str
    caption: str
    panels: Sequence[Panel]
    head: Sequence[str]
    rows: Sequence[Sequence[str]]

    @property
    def file(self) -> bytes:
        """The figure as an SVG file of its own."""
        return standalone(self.panels, self.title)


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
    panel = Panel(
        f"Bars of recall and zero-shot accuracy on {len(groups)} sets.", width=640, height=40 + 44 * len(groups)
    )
    x = Scale(0, 1, 150, 590)
    panel.legend(list(measures.values()), x=150)
    for number, (name, figures) in enumerate(groups.items()):
        top = 34 + 44 * number
        panel.text(140, top + 20, SETS[name], "ink", "end")
        for place, (key, (kind, label)) in enumerate(measures.items()):
            value = getattr(figures, key)
            at = top + 16 * place
            panel.add(
                "rect",
                f"bar {kind}",
                f"{SETS[name]}, {label}: {value:.0%}",
                x=x.start,
                y=at,
                width=x(value) - x.start,
                height=13,
                rx=2,
            )
            panel.text(x(value) + 6, at + 11, f"{value:.0%}")
    rows = [[SETS[name], *(f"{getattr(one, key):.3f}" for key in measures)] for name, one in groups.items()]
    return Figure(
        "sets",
        "What the base model can do",
        "Trained pictures should score high; held-out ones show how far the model generalises.",
        [panel],
        ["Set", *(label.capitalize() for _, label in measures.values())],
        rows,
    )


def similarity_histograms(path: Path, expected: float | None = None) -> Figure:
    """How similar picture and caption are, pair by pair, for the forget set and for its neighbours."""
    found = _by_model(path)
    present = [name for name in MODELS if (name, "forget") in found]
    every = np.concatenate([found[key] for key in found if key[1] in ("forget", "neighbours")])
    edges = np.linspace(min(0.0, float(every.min())), max(1.0, float(every.max())), BINS + 1)
    panels, rows = [], []
    for group, title in (("forget", "Forgotten"), ("neighbours", "Neighbouring")):
        values = {name: found[name, group] for name in present if (name, group) in found}
        shares = {name: np.histogram(own, edges)[0] / max(1, len(own)) for name, own in values.items()}
        means = ", ".join(f"{MODELS[name]} {own.mean():.2f}" for name, own in values.items())
        panel = Panel(f"Histogram of the {title.lower()} pairs' similarity. Means: {means}.")
        highest = max((float(share.max()) for share in shares.values()), default=1.0)
        x, y = panel.axes(
            (edges[0], edges[-1]), (0, highest * 1.08), ("similarity of picture and caption", ""), (False, True)
        )
        panel.legend([(name, SHORT[name]) for name in values])
        for name, share in shares.items():
            corners = [
                (x(edge), y(value))
                for (low, high), value in zip(pairwise(edges), share, strict=True)
                for edge in (low, high)
            ]
            outline = [(x.start, y.start), *corners, (x.end, y.start)]
            panel.add("polygon", f"area {name}", points=" ".join(f"{a:.1f},{b:.1f}" for a, b in outline))
            panel.line(corners, name, f"{title} pairs, {MODELS[name]}: mean {values[name].mean():.2f}")
        if expected is not None and group == "forget":
            panel.add(
                "line",
                "mark",
                f"expected of pairs never seen: {expected:.2f}",
                x1=x(expected),
                x2=x(expected),
                y1=y.start,
                y2=y.end,
            )
            panel.text(x(expected) + 4, y.end + 10, "expected, never seen")
        panels.append(panel)
        rows += [
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
        rows,
    )


SHORT = {"original": "before", "unlearned": "this release", "retrained": "retrained"}


def roc_curves(path: Path, aucs: Mapping[str, float | None]) -> Iterator[Figure]:
    """What membership attackers reach, one panel per signal; nothing where there was nothing to attack."""
    table = read_table(path)
    model, signal = (np.array(table[name].to_pylist()) for name in ("model", "signal"))
    points = np.column_stack([table["false_positives"].to_numpy(), table["true_positives"].to_numpy()])
    if not len(points):
        return
    panels, rows = [], []
    for kind in [kind for kind in SIGNALS if kind in set(signal)]:
        areas = {}
        for name in [name for name in MODELS if name in set(model)]:
            own = points[(model == name) & (signal == kind)]
            areas[name] = (own, float(np.trapezoid(own[:, 1], own[:, 0])))
        said = ", ".join(f"{MODELS[name]} {area:.2f}" for name, (_, area) in areas.items())
        panel = Panel(f"ROC curves of the attack by {SIGNALS[kind]}. Areas under the curves: {said}.")
        x, y = panel.axes((0, 1), (0, 1), (f"never seen, called members (attack by {SIGNALS[kind]})", ""), (True, True))
        panel.legend([(name, f"{SHORT[name]} {area:.2f}") for name, (_, area) in areas.items()])
        panel.add("line", "mark", "guessing", x1=x(0), y1=y(0), x2=x(1), y2=y(1))
        for name, (own, area) in areas.items():
            panel.line(((x(a), y(b)) for a, b in own), name, f"{MODELS[name]}: AUC {area:.2f}")
            low = own[own[:, 0] <= 0.01, 1].max(initial=0.0)
            exact = aucs.get(name) if kind == "loss" else None
            rows.append([SIGNALS[kind], MODELS[name], f"{area if exact is None else exact:.3f}", f"{low:.1%}"])
        panels.append(panel)
    yield Figure(
        "attacks",
        "Can an attacker tell who was in the data?",
        "Curves of forgotten pairs against pairs never seen. A model that remembers bends to the upper left; this "
        "release should follow the retrained model, which often lies below the diagonal, since forgotten pairs and "
        "pairs never seen are not alike.",
        panels,
        ["Attack by", "Model", "AUC", "Caught at 1 % false alarms"],
        rows,
    )


def kept_pairs(path: Path) -> Iterator[Figure]:
    """Each neighbouring pair's similarity before and after: a loss lies below the diagonal."""
    found = _by_model(path)
    before = found.get(("original", "neighbours"))
    if before is None or not len(before):
        return
    chosen = np.unique(np.linspace(0, len(before) - 1, min(MAX_DOTS, len(before))).round().astype(int))
    others = {name: found[name, "neighbours"] for name in ("unlearned", "retrained") if (name, "neighbours") in found}
    low = np.floor(10 * min(float(own.min()) for own in (before, *others.values()))) / 10
    panels, rows = [], []
    for name, own in others.items():
        lost = float((own < before - 0.1).mean())
        panel = Panel(
            f"Scatter of neighbours' similarity, before against {MODELS[name]}: {lost:.0%} lost more than 0.1."
        )
        x, y = panel.axes((low, 1), (low, 1), ("similarity before", f"similarity, {MODELS[name]}"))
        panel.add("line", "mark", x1=x(low), y1=y(low), x2=x(1), y2=y(1))
        for row in chosen:
            panel.dot(x(before[row]), y(own[row]), name, f"{before[row]:.2f} → {own[row]:.2f}", 2.5)
        panels.append(panel)
        change = own - before
        rows.append(
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
        rows,
    )


def tradeoff(metrics: ReleaseMetrics, before: Sequence[ReleaseMetrics]) -> Figure:
    """The release among its ancestors and the methods of the benchmark."""
    origin, spots = benchmark()
    spots += [spot(one.release, one.gate, "original") for one in before]
    spots.append(spot(metrics.release, metrics.gate, "unlearned"))
    limit = max((check.limit for check in metrics.gate.checks), default=3.5)
    shown: list[Spot] = spots[::-1]
    return Figure(
        "tradeoff",
        "Forgetting against retention",
        "The lower left corner is what a retraining would do; the dashed corner is what the gate lets pass. Pale dots "
        f"are the benchmark's methods, darker ones earlier releases of this chain. Benchmark: {origin}.",
        [chart(spots, limit)],
        ["Model", "Gap of what is forgotten", "Loss of what stays"],
        [[one.name, f"{one.forgetting:.1f}", f"{one.retention:.1f}"] for one in shown],
    )


def curves(found: Mapping[str, Path]) -> Iterator[Figure]:
    """Loss by step, one panel per file; nothing where no file is there."""
    read = {name: rows for name, path in found.items() if (rows := read_curve(path))}
    if not read:
        return
    panels, table = [], []
    for name, rows in read.items():
        thin = rows[:: max(1, -(-len(rows) // MAX_STEPS))]
        terms = [key for key in rows[0][1] if key not in ("loss", "epoch", "learning_rate")][:PARTS_OF_LOSS]
        kinds = {"loss": "unlearned"} | {term: f"term-{number}" for number, term in enumerate(terms, 1)}
        highest = max(row.get(key, 0.0) for _, row in thin for key in kinds)
        lowest = min(0.0, *(row.get(key, 0.0) for _, row in thin for key in kinds))
        first, last = rows[0][1]["loss"], rows[-1][1]["loss"]
        panel = Panel(f"Loss of {name}: from {first:.2f} to {last:.2f} in {rows[-1][0]} steps.", height=HEIGHT - 20)
        x, y = panel.axes((rows[0][0], max(rows[-1][0], rows[0][0] + 1)), (lowest, highest), (f"step of {name}", ""))
        panel.legend([(kind, key) for key, kind in kinds.items()])
        for key, kind in kinds.items():
            line = [(x(step), y(row[key])) for step, row in thin if np.isfinite(row.get(key, np.nan))]
            panel.line(line, kind, key)
        panels.append(panel)
        table.append([name, f"{rows[-1][0]}", f"{first:.3f}", f"{last:.3f}"])
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
