"""Where a release comes from, as a picture: the chain of releases from top to bottom, and what this one consists of."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from expunge.report.svg import Panel

MAX_SHOWN = 7
BOX, STEP = 44, 66
SHORT = 10


@dataclass(frozen=True)
class ChainLink:
    """One release of the chain: who it serves, by which method, with which verdict; `base` serves nobody."""

    release: str
    requests: Sequence[str] = ()
    method: str | None = None
    verdict: str = ""


def lineage_chart(chain: Sequence[ChainLink], made_of: Sequence[tuple[str, str]]) -> Panel:
    """The picture.

    Args:
        chain: from `base` to the release.
        made_of: parts of the release with their digests.
    """
    shown = list(chain) if len(chain) <= MAX_SHOWN else [chain[0], *chain[1 - MAX_SHOWN :]]
    skipped = len(chain) - len(shown)
    rows = len(shown) + (skipped > 0)
    parts = 24 * len(made_of) + 16
    panel = Panel(
        f"Chain of {len(chain)} releases from {chain[0].release} to {chain[-1].release}, which consists of "
        + ", ".join(name for name, _ in made_of),
        height=rows * STEP + parts,
    )
    top = 4
    for number, link in enumerate(shown):
        if number:
            _arrow(panel, top - (STEP - BOX), top)
        if number == 1 and skipped:
            panel.text(20, top + 26, f"… {skipped} releases between", "soft")
            top += STEP
            _arrow(panel, top - (STEP - BOX), top)
        last = link is chain[-1]
        panel.add("rect", "box unlearned" if last else "box", x=4, y=top, width=130, height=BOX, rx=8)
        panel.text(69, top + 27, link.release, "ink strong", "middle")
        said = [_serves(link), " · ".join(part for part in (link.method and f"by {link.method}", link.verdict) if part)]
        for line, text in enumerate(part for part in said if part):
            panel.text(148, top + 18 + 18 * line, text, "ink" if line == 0 else "soft")
        top += STEP
    top -= STEP - BOX
    for number, (name, digest) in enumerate(made_of):
        y = top + 24 + 24 * number
        panel.add("polyline", "axis", points=f"24,{y - 28 if number else top} 24,{y - 4} 40,{y - 4}", fill="none")
        panel.text(46, y, name, "ink")
        panel.text(225, y, digest[:SHORT] + "…" if digest else "not recorded", "soft")
    return panel


def _serves(link: ChainLink) -> str:
    if not link.requests:
        return "the base model" if link.method is None else ""
    named = ", ".join(link.requests[:3])
    more = len(link.requests) - 3
    return f"serves {named}" + (f" and {more} more" if more > 0 else "")


def _arrow(panel: Panel, start: float, end: float) -> None:
    panel.add("line", "axis", x1=69, x2=69, y1=start, y2=end - 2)
    panel.add("polyline", "axis", points=f"64,{end - 9} 69,{end - 2} 74,{end - 9}", fill="none")
