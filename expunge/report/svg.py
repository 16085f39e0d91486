"""A small kit for charts: SVG with real text, coloured by the page's own style sheet, the same bytes for the same data.

Inline SVG follows light, dark and print by itself, needs no script, keeps its text selectable, and a chart takes a few
kilobytes where a charting library takes megabytes. Marks carry a `<title>`, which browsers show on hover.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from html import escape
from importlib.resources import files

WIDTH, HEIGHT = 420, 270
LEFT, RIGHT, TOP, BOTTOM = 50, 20, 30, 42
Point = tuple[float, float]


@dataclass(frozen=True)
class Scale:
    """A linear map of values [low, high] to pixels [start, end]; values outside are put on the edge."""

    low: float
    high: float
    start: float
    end: float

    def __call__(self, value: float) -> float:
        share = (value - self.low) / (self.high - self.low) if self.high > self.low else 0.5
        return self.start + min(1.0, max(0.0, share)) * (self.end - self.start)


def ticks(low: float, high: float, count: int = 5) -> list[float]:
    """About `count` round values in [low, high]."""
    if not high > low:
        return [low]
    power = 10.0 ** math.floor(math.log10((high - low) / count))
    step = next(power * factor for factor in (1, 2, 5, 10) if (high - low) / (power * factor) <= count)
    first = math.ceil(low / step - 1e-9)
    return [round(number * step, 10) for number in range(first, math.floor(high / step + 1e-9) + 1)]


@dataclass
class Panel:
    """One drawing; `label` is what it shows, for those who cannot see it."""

    label: str
    width: int = WIDTH
    height: int = HEIGHT
    parts: list[str] = field(default_factory=list)

    def add(self, tag: str, kind: str, title: str | None = None, **attributes: float | str) -> None:
        """An element of class `kind`, with what a reader sees who points at it."""
        written = " ".join(
            f'{name.rstrip("_").replace("_", "-")}="{_text(value)}"' for name, value in attributes.items()
        )
        inside = f"<title>{escape(title)}</title>" if title else ""
        self.parts.append(f'<{tag} class="{kind}" {written}>{inside}</{tag}>')

    def text(self, x: float, y: float, words: str, kind: str = "soft", anchor: str = "start") -> None:
        self.parts.append(
            f'<text class="{kind}" x="{_text(x)}" y="{_text(y)}" text-anchor="{anchor}">{escape(words)}</text>'
        )

    def line(self, points: Iterable[Point], kind: str, title: str | None = None) -> None:
        self.add("polyline", f"line {kind}", title, points=" ".join(f"{_text(x)},{_text(y)}" for x, y in points))

    def dot(self, x: float, y: float, kind: str, title: str | None = None, radius: float = 4) -> None:
        self.add("circle", f"dot {kind}", title, cx=x, cy=y, r=radius)

    def legend(self, entries: Sequence[tuple[str, str]], x: float = LEFT, y: float = 14) -> None:
        """Names of series in a row above the plot; each entry is (class, name)."""
        for kind, name in entries:
            self.add("rect", f"key {kind}", x=x, y=y - 8, width=10, height=10, rx=2)
            self.text(x + 14, y + 1, name)
            x += 26 + 6.3 * len(name)

    def axes(
        self,
        across: tuple[float, float],
        up: tuple[float, float],
        names: tuple[str, str],
        percent: tuple[bool, bool] = (False, False),
    ) -> tuple[Scale, Scale]:
        """Draw a grid with its figures; give the scales that put values on it."""
        x = Scale(*across, LEFT, self.width - RIGHT)
        y = Scale(*up, self.height - BOTTOM, TOP)
        for value in ticks(*up):
            self.add("line", "grid", x1=x.start, x2=x.end, y1=y(value), y2=y(value))
            self.text(x.start - 6, y(value) + 4, _figure(value, percent[1]), anchor="end")
        for value in ticks(*across):
            self.text(x(value), self.height - BOTTOM + 16, _figure(value, percent[0]), anchor="middle")
        self.add("line", "axis", x1=x.start, x2=x.end, y1=y.start, y2=y.start)
        self.text((x.start + x.end) / 2, self.height - 6, names[0], anchor="middle")
        if names[1]:
            self.text(6, TOP - 12, names[1])
        return x, y

    @property
    def inline(self) -> str:
        """For a page that has the style sheet."""
        return (
            f'<svg role="img" viewBox="0 0 {self.width} {self.height}" aria-label="{escape(self.label)}">'
            f"{''.join(self.parts)}</svg>"
        )


def standalone(panels: Sequence[Panel], title: str) -> bytes:
    """Panels side by side as a file of its own, with its style sheet inside."""
    width, height = sum(panel.width for panel in panels), max(panel.height for panel in panels) + 24
    style = (files("expunge.report") / "charts.css").read_text(encoding="utf-8")
    parts, x = [], 0
    for panel in panels:
        parts.append(f'<g transform="translate({x} 24)">{"".join(panel.parts)}</g>')
        x += panel.width
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="alone" viewBox="0 0 {width} {height}" role="img">'
        f"<title>{escape(title)}</title><style>{style}</style>"
        f'<rect class="paper" width="{width}" height="{height}"/>'
        f'<text class="ink strong" x="12" y="18">{escape(title)}</text>{"".join(parts)}</svg>\n'
    ).encode()


def _figure(value: float, percent: bool) -> str:
    return f"{round(value * 100, 1):g} %" if percent else f"{value:g}".replace("-", "−")


def _text(value: float | str) -> str:
    return escape(value) if isinstance(value, str) else f"{value:.1f}".removesuffix(".0")
