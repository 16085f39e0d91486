"""The figures of a report as SVG: the same data gives the same bytes.

Each is drawn twice, for light and for dark pages. Colours are from Okabe and Ito's set, which colour-blind readers
can tell apart. No figure shows a picture, a caption or an id; the map shows retained samples only.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import matplotlib
import matplotlib.lines
import matplotlib.ticker
import numpy as np
import pyarrow.parquet as pq
from matplotlib.axes import Axes
from matplotlib.backends.backend_svg import FigureCanvasSVG
from matplotlib.figure import Figure as Canvas

from expunge.evaluation.metrics import BaseFigures, BaseMetrics, ComparedModels, Metrics
from expunge.models.curves import read_curve
from expunge.project.paths import Paths
from expunge.report.words import MODELS, SETS

GROUPS = ("forget", "neighbours", "retain", "test")
MAX_SUPERCLASSES = 7
MAX_MAP_POINTS = 4000
MAX_LABEL = 28
BINS = 24


class Theme(NamedTuple):
    """Colours of one reading mode; the background is the page's own."""

    text: str
    faint: str
    grid: str
    original: str
    unlearned: str
    retrained: str


LIGHT = Theme("#1d2430", "#5c6675", "#dfe3ea", "#9aa3b0", "#0072b2", "#e69f00")
DARK = Theme("#e8ebf1", "#a3adbd", "#39414f", "#7c8798", "#56b4e9", "#e69f00")
CATEGORIES = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#f0e442")


@dataclass(frozen=True)
class Figure:
    """One figure in both themes, with what a reader needs who sees it for the first time or not at all.

    Attributes:
        name: file name without ending.
        caption: one sentence on how to read it.
        alt: what it shows, for those who cannot see it.
        light, dark: SVG.
    """

    name: str
    title: str
    caption: str
    alt: str
    light: bytes
    dark: bytes


Draw = Callable[[Canvas, Theme], None]


def figures_of(paths: Paths, release: str, metrics: Metrics) -> list[Figure]:
    """All figures that the files of `release` allow; a missing curve leaves its figure out."""
    where = paths.release(release)
    if isinstance(metrics, BaseMetrics):
        return [base_bars(metrics.model), *curves({"training": where.training_curve})]
    return [
        model_bars(metrics.models),
        similarity_histograms(where.similarities, metrics.expected_similarity),
        embedding_map(where.embedding_map),
        *curves({"unlearning": where.unlearning_curve, "retraining": where.gold_curve}),
    ]


def model_bars(models: ComparedModels) -> Figure:
    """Recall and pair similarity of each set, one bar per model."""
    shown = models.there

    def draw(canvas: Canvas, theme: Theme) -> None:
        panels = canvas.subplots(1, 2)
        for axes, metric, title in (
            (panels[0], "image_to_text_r1", "Picture finds its caption first (R@1)"),
            (panels[1], "pair_similarity", "Similarity of picture and caption (cosine)"),
        ):
            values = {
                name: [getattr(figures.groups[group], metric) for group in GROUPS] for name, figures in shown.items()
            }
            _grouped_bars(axes, theme, [SETS[group] for group in GROUPS], values)
            axes.set_title(title)
        _legend_above(canvas, panels[0], len(shown))

    recalls = ", ".join(f"{MODELS[name]} {figures.forget.image_to_text_r1:.0%}" for name, figures in shown.items())
    aim = (
        "be as low as orange, in all others as high"
        if "retrained" in shown
        else "be low, in all others as high as grey"
    )
    return _render(
        "comparison",
        "Before, after and retrained" if "retrained" in shown else "Before and after",
        f"In the group on the left (forgotten) blue should {aim}.",
        f"Bar chart by set. Forgotten pictures that find their caption first: {recalls}.",
        draw,
        (9.2, 3.5),
    )


def base_bars(model: BaseFigures) -> Figure:
    """Recall and zero-shot accuracy of the base model on each of its sets."""
    groups = model.groups
    measures = {"image_to_text_r1": "picture finds its caption first", "zero_shot_top1": "class named right"}

    def draw(canvas: Canvas, theme: Theme) -> None:
        axes = canvas.subplots()
        values = {label: [getattr(figures, key) for figures in groups.values()] for key, label in measures.items()}
        colours = dict(zip(values, (theme.unlearned, theme.retrained), strict=True))
        _grouped_bars(axes, theme, [SETS[name] for name in groups], values, colours)
        _legend_above(canvas, axes, len(values))

    return _render(
        "sets",
        "What the base model can do",
        "Trained pictures should score high; held-out ones show how far the model generalises.",
        f"Bar chart of recall and zero-shot accuracy on {len(groups)} sets.",
        draw,
        (9.2, 3.3),
    )


def similarity_histograms(path: Path, expected: float | None = None) -> Figure:
    """How similar picture and caption are, pair by pair, for the forget set and for its neighbours."""
    table = pq.read_table(path)
    model, group, similarity = (np.array(table[name].to_pylist()) for name in ("model", "set", "similarity"))
    present = [name for name in MODELS if name in set(model)]

    def draw(canvas: Canvas, theme: Theme) -> None:
        panels = canvas.subplots(1, 2, sharex=True)
        edges = np.linspace(min(0.0, similarity.min()), max(1.0, similarity.max()), BINS + 1)
        for axes, name, title in zip(panels, ("forget", "neighbours"), ("Forgotten", "Neighbouring"), strict=True):
            for shown in present:
                values = similarity[(model == shown) & (group == name)]
                weights = np.full(len(values), 1 / max(1, len(values)))
                colour = getattr(theme, shown)
                style: dict[Any, Any] = {"bins": edges, "weights": weights, "color": colour}
                axes.hist(values, **style, histtype="stepfilled", alpha=0.22)
                axes.hist(values, **style, histtype="step", linewidth=1.6, label=MODELS[shown])
            axes.set_title(f"{title} pairs")
            axes.set_xlabel("similarity of picture and caption")
            axes.yaxis.set_major_locator(matplotlib.ticker.MaxNLocator(5, steps=[1, 2, 5, 10]))
            axes.yaxis.set_major_formatter(lambda share, _: f"{round(share * 100, 1):g} %")
        panels[0].set_ylabel("share of pairs")
        if expected is not None:
            panels[0].axvline(
                expected, color=theme.text, linewidth=1, linestyle=(0, (2, 2)), label="expected, never seen"
            )
        _legend_above(canvas, panels[0], len(present) + 1)

    means = ", ".join(f"{MODELS[m]} {similarity[(model == m) & (group == 'forget')].mean():.2f}" for m in present)
    aim = "over orange" if "retrained" in present else "around the dotted line"
    return _render(
        "similarities",
        "How similar picture and caption are",
        f"On the left, blue should lie {aim}: as similar as if never seen, not less; on the right, over grey.",
        f"Two histograms. Mean similarity of forgotten pairs: {means}.",
        draw,
        (9.2, 3.5),
    )


def embedding_map(path: Path) -> Figure:
    """Where retained pictures lie before and after, coloured by superclass."""
    table = pq.read_table(path)
    model, group, superclass = (np.array(table[name].to_pylist()) for name in ("model", "set", "superclass"))
    points = np.column_stack([table["x"].to_numpy(), table["y"].to_numpy()])
    common = [name for name, _ in sorted(Counter(superclass).items(), key=lambda item: (-item[1], item[0]))]
    named = common[:MAX_SUPERCLASSES]

    def draw(canvas: Canvas, theme: Theme) -> None:
        panels = canvas.subplots(1, 2, sharex=True, sharey=True)
        for axes, shown in zip(panels, ("original", "unlearned"), strict=True):
            for name, colour in [(None, theme.grid), *zip(named, CATEGORIES, strict=False)]:
                for role, size in (("retain", 7), ("neighbours", 20)):
                    chosen = (model == shown) & (group == role)
                    chosen &= ~np.isin(superclass, named) if name is None else superclass == name
                    rows = _thinned(np.flatnonzero(chosen), len(model))
                    edge = {"edgecolors": theme.text, "linewidths": 0.5} if role == "neighbours" else {"linewidths": 0}
                    axes.scatter(*points[rows].T, s=size, color=colour, alpha=0.85, rasterized=True, **edge)
            axes.set_title(MODELS[shown].capitalize())
            axes.set_xticks([])
            axes.set_yticks([])
        handles = [
            matplotlib.lines.Line2D(
                [], [], marker="o", linestyle="", markersize=5, color=colour, label=name[:MAX_LABEL]
            )
            for name, colour in zip(named, CATEGORIES, strict=False)
        ]
        canvas.legend(handles=handles, loc="outside lower center", ncols=4)

    return _render(
        "map",
        "Where the retained pictures lie",
        "Each dot is a retained picture; outlined ones are neighbours of what was forgotten. The two clouds should "
        "look alike.",
        "Two scatter plots of retained pictures' embeddings, before and after, coloured by superclass.",
        draw,
        (9.2, 4.5),
    )


def curves(files: Mapping[str, Path]) -> list[Figure]:
    """Loss by step, one panel per file; empty where no file is there."""
    found = {name: rows for name, path in files.items() if (rows := read_curve(path))}
    if not found:
        return []

    def draw(canvas: Canvas, theme: Theme) -> None:
        panels = canvas.subplots(1, len(found), squeeze=False)[0]
        for axes, (name, rows) in zip(panels, found.items(), strict=True):
            steps = [step for step, _ in rows]
            terms = [key for key in rows[0][1] if key not in ("loss", "epoch", "learning_rate")]
            for term, colour in zip(terms, CATEGORIES[1:], strict=False):
                axes.plot(steps, [row.get(term, np.nan) for _, row in rows], color=colour, linewidth=1.1, label=term)
            axes.plot(steps, [row["loss"] for _, row in rows], color=theme.unlearned, linewidth=1.7, label="loss")
            axes.set_title(name.capitalize())
            axes.set_xlabel("step")
            if terms:
                axes.legend(loc="upper right")
        panels[0].set_ylabel("loss")

    return [
        _render(
            "curves",
            "How the loss fell",
            "Every curve should level out; one that still falls steeply, or rises, means that the run was too short "
            "or its learning rate too high.",
            "Line chart of the loss by step: " + "; ".join(_ends(name, rows) for name, rows in found.items()) + ".",
            draw,
            (9.2, 3.1),
        )
    ]


def _ends(name: str, rows: Sequence[tuple[int, Mapping[str, float]]]) -> str:
    return f"{name} from {rows[0][1]['loss']:.2f} to {rows[-1][1]['loss']:.2f} in {rows[-1][0]} steps"


def _grouped_bars(
    axes: Axes,
    theme: Theme,
    labels: Sequence[str],
    values: Mapping[str, Sequence[float]],
    colours: Mapping[str, str] | None = None,
) -> None:
    width = 0.8 / len(values)
    for number, (name, heights) in enumerate(values.items()):
        centres = np.arange(len(labels)) + (number - (len(values) - 1) / 2) * width
        colour = colours[name] if colours else getattr(theme, name)
        bars = axes.bar(centres, heights, width * 0.9, color=colour, label=MODELS.get(name, name))
        axes.bar_label(bars, fmt="%.2f", fontsize=6.5, padding=2, color=theme.faint)
    axes.set_xticks(range(len(labels)), labels)
    axes.set_ylim(min(0.0, *(min(heights) for heights in values.values())) * 1.15, 1.0)
    axes.axhline(0, color=theme.faint, linewidth=0.8)


def _legend_above(canvas: Canvas, axes: Axes, columns: int) -> None:
    handles, labels = axes.get_legend_handles_labels()
    canvas.legend(handles, labels, loc="outside upper left", ncols=columns)


def _thinned(rows: np.ndarray, total: int) -> np.ndarray:
    return rows[:: max(1, -(-total // (2 * MAX_MAP_POINTS)))]


def _render(name: str, title: str, caption: str, alt: str, draw: Draw, size: tuple[float, float]) -> Figure:
    return Figure(name, title, caption, alt, _svg(draw, size, LIGHT), _svg(draw, size, DARK))


def _svg(draw: Draw, size: tuple[float, float], theme: Theme) -> bytes:
    style: dict[Any, Any] = {
        "font.family": "DejaVu Sans",  # comes with matplotlib, so every machine draws the same
        "font.size": 8.5,
        "text.color": theme.text,
        "text.parse_math": False,  # labels come from the data
        "axes.facecolor": "none",
        "axes.edgecolor": theme.grid,
        "axes.labelcolor": theme.faint,
        "axes.titlecolor": theme.text,
        "axes.titlesize": 9.5,
        "axes.titlelocation": "left",
        "axes.titlepad": 9,
        "axes.spines.top": False,
        "axes.spines.right": False,
        "axes.grid": True,
        "axes.grid.axis": "y",
        "axes.axisbelow": True,
        "grid.color": theme.grid,
        "grid.linewidth": 0.7,
        "xtick.color": theme.faint,
        "ytick.color": theme.faint,
        "xtick.major.size": 0,
        "ytick.major.size": 0,
        "legend.frameon": False,
        "legend.fontsize": 8,
        "savefig.dpi": 200,
        "svg.fonttype": "path",
        "svg.hashsalt": "expunge",
    }
    with matplotlib.rc_context(style):
        canvas = Canvas(figsize=size, layout="constrained", facecolor="none")
        FigureCanvasSVG(canvas)
        draw(canvas, theme)
        stream = io.BytesIO()
        canvas.savefig(stream, format="svg", metadata={"Date": None, "Creator": None}, facecolor="none")
        return stream.getvalue()
