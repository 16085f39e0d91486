"""Charts: one Vega-Lite specification each, written with Altair, drawn by vl-convert as SVG and in the page by Vega.

The SVG is what a reader has without a script, on paper and in MLflow. Colours are variables of the style sheet, so that
light, dark and paper need no second drawing. Text is measured in a font that vl-convert brings along, so the same data
give the same bytes on every machine; the style sheet chooses the font that is shown.
"""

from __future__ import annotations

import hashlib
import json
from base64 import b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache, cached_property
from importlib.resources import files
from typing import Any
from xml.etree import ElementTree

import altair as alt
import vl_convert

WIDTH, HEIGHT = 420, 270
SOFT, LINE, INK = "var(--soft)", "var(--line)", "var(--ink)"
DASHES = {"retrained": [6, 3], "original": [2, 2]}
HOVER = "hover"
"""Name of the layer that the SVG goes without."""
SVG = "{http://www.w3.org/2000/svg}"
VERSION = ".".join(alt.SCHEMA_VERSION.removeprefix("v").split(".")[:2])
CONFIG = {
    "font": "Liberation Sans, Arial, sans-serif",
    "background": "transparent",
    "padding": {"left": 10, "right": 8, "top": 4, "bottom": 4},
    "view": {"stroke": None},
    "text": {"fill": SOFT, "fontSize": 12},
    "rule": {"stroke": SOFT, "strokeDash": [3, 3]},
    "line": {"strokeWidth": 2, "strokeJoin": "round"},
    "axis": {
        "labelColor": SOFT,
        "labelFontSize": 12,
        "labelPadding": 6,
        "titleColor": SOFT,
        "titleFontSize": 12,
        "titleFontWeight": "normal",
        "domainColor": SOFT,
        "gridColor": LINE,
        "ticks": False,
        "tickCount": 5,
    },
    "axisX": {"grid": False},
    "axisY": {"domain": False, "titleAngle": 0, "titleAlign": "left", "titleAnchor": "end", "titleX": 0, "titleY": -10},
    "legend": {
        "orient": "top",
        "title": None,
        "offset": 8,
        "labelColor": SOFT,
        "labelFontSize": 12,
        "labelLimit": 0,
        "columnPadding": 22,
        "symbolSize": 160,
        "symbolStrokeWidth": 2,
    },
}
PERCENT = alt.Axis(labelExpr="format(100 * datum.value, '~g') + ' %'")


@dataclass(frozen=True)
class Panel:
    """One drawing.

    Attributes:
        label: what it shows, for those who cannot see it.
        chart: layers in one frame; what each mark's `description` says is shown to a reader who points at it.
        wide: whether it needs the page's whole width.
    """

    label: str
    chart: alt.LayerChart
    wide: bool = False

    @cached_property
    def specification(self) -> dict[str, Any]:
        """Vega-Lite, with all that it needs inside."""
        fit = alt.AutoSizeParams(type="fit", contains="padding")
        whole = self.chart.properties(autosize=fit, description=self.label)
        return whole.to_dict(validate=False) | {"config": CONFIG}  # vl-convert refuses what is wrong, in less time

    @cached_property
    def drawing(self) -> ElementTree.Element:
        """SVG, without what only those need who can point at it."""
        layers = [one for one in self.specification["layer"] if one.get("name") != HOVER]
        svg = vl_convert.vegalite_to_svg(self.specification | {"layer": layers}, vl_version=VERSION)
        return _image(ElementTree.fromstring(svg), self.label)

    @property
    def inline(self) -> str:
        """SVG for a page that has the style sheet."""
        return _text(self.drawing)

    @property
    def live(self) -> str:
        """The specification for the page's script."""
        return in_script(self.specification)


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
        """The figure as an SVG file of its own, with its style sheet inside."""
        boxes = [tuple(map(int, panel.drawing.attrib["viewBox"].split()[2:])) for panel in self.panels]
        width, height = sum(box[0] for box in boxes), max(box[1] for box in boxes) + 28
        whole = ElementTree.Element(f"{SVG}svg", {"class": "alone", "viewBox": f"0 0 {width} {height}", "role": "img"})
        for tag, text in (("title", self.title), ("style", _sheet())):
            ElementTree.SubElement(whole, f"{SVG}{tag}").text = text
        ElementTree.SubElement(whole, f"{SVG}rect", {"class": "paper", "width": "100%", "height": "100%"})
        ElementTree.SubElement(whole, f"{SVG}text", {"class": "heading", "x": "12", "y": "20"}).text = self.title
        left = 0
        for panel, box in zip(self.panels, boxes, strict=True):
            place = {"x": f"{left}", "y": "28", "width": f"{box[0]}", "height": f"{box[1]}"}
            ElementTree.SubElement(whole, f"{SVG}svg", panel.drawing.attrib | place).extend(panel.drawing)
            left += box[0]
        return f"{_text(whole)}\n".encode()


def framed(*layers: alt.Chart, width: int = WIDTH, height: int = HEIGHT) -> alt.LayerChart:
    """Layers on common axes."""
    return alt.LayerChart(layer=list(layers), width=width, height=height)


def dashed(*corners: tuple[float, float]) -> alt.Chart:
    """A thin broken line through points, for the eye."""
    data = [{"x": x, "y": y, "place": place} for place, (x, y) in enumerate(corners)]
    line = alt.Chart(rows(data)).mark_line(color=SOFT, strokeWidth=1, strokeDash=[3, 3])
    return line.encode(x="x:Q", y=alt.Y("y:Q", scale=alt.Scale(zero=False)), order="place:Q")


def rows(found: Sequence[Mapping[str, Any]]) -> alt.InlineData:
    """Data of a chart."""
    return alt.InlineData(values=found)


def by_kind(field: str, kinds: Mapping[str, str], legend: bool = True, dashes: bool = True) -> dict[str, Any]:
    """Channels that tell series apart.

    Args:
        kinds: name of each series, as `field` has it → what it is, which is its colour's name.
    """
    names, shown = list(kinds), alt.Legend(symbolType="stroke" if dashes else "square") if legend else None
    colours = alt.Scale(domain=names, range=[f"var(--{kind})" for kind in kinds.values()])
    channels: dict[str, Any] = {"color": alt.Color(f"{field}:N", scale=colours, legend=shown)}
    if dashes:
        lengths = alt.Scale(domain=names, range=[DASHES.get(kind, [1, 0]) for kind in kinds.values()])
        channels["strokeDash"] = alt.StrokeDash(f"{field}:N", scale=lengths, legend=shown)
    return channels


def said() -> dict[str, Any]:
    """Channels by which a mark tells its field `said` to a reader who points at it, in the SVG and live."""
    return {"description": alt.Description("said:N"), "tooltip": alt.Tooltip("said:N")}


def pointed(curve: alt.Chart) -> alt.Chart:
    """The points of a curve, unseen: each tells its field `said` to a reader of the live chart who points at it."""
    return curve.mark_point(opacity=0, size=120).encode(tooltip="said:N").properties(name=HOVER)


@dataclass(frozen=True)
class Script:
    """A script of a page; its policy allows those scripts alone whose hashes it names."""

    text: str

    @property
    def hash(self) -> str:
        return "sha256-" + b64encode(hashlib.sha256(self.text.encode()).digest()).decode()


def script(name: str) -> Script:
    """A script of this room."""
    return Script((files("expunge.report") / name).read_text(encoding="utf-8"))


@cache
def live_charts() -> Script:
    """What makes charts live, with Vega, Vega-Lite and Vega-Embed as vl-convert brings them along."""
    return Script(vl_convert.javascript_bundle(script("charts.js").text, vl_version=VERSION))


def in_script(value: Any) -> str:
    """JSON for a script element: no text of the data can end it."""
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")


def _image(drawing: ElementTree.Element, label: str) -> ElementTree.Element:
    """The drawing as one image with a name; what Vega says of a mark becomes its `<title>`, which browsers show."""
    for element in drawing.iter():
        text = element.get("aria-label") if element.get("role") == "graphics-symbol" else None
        for name in [name for name in element.attrib if name.startswith("aria-") or name in ("role", "class")]:
            del element.attrib[name]
        if text and not element.tag.endswith("g"):
            title = ElementTree.Element(f"{SVG}title")
            title.text = text
            element.insert(0, title)
        for hidden in [one for one in element if one.get("display") == "none"]:
            element.remove(hidden)
    for name in ("width", "height", "version"):
        del drawing.attrib[name]
    drawing.attrib |= {"role": "img", "aria-label": label}
    return drawing


def _text(drawing: ElementTree.Element) -> str:
    ElementTree.register_namespace("", SVG.strip("{}"))
    return ElementTree.tostring(drawing, encoding="unicode")


@cache
def _sheet() -> str:
    return (files("expunge.report") / "charts.css").read_text(encoding="utf-8")
