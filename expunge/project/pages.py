"""The look that all pages share: templates of `expunge/report/`, with one style sheet that goes into every page."""

from __future__ import annotations

import re
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from markupsafe import Markup

if TYPE_CHECKING:
    import jinja2

ROOM = "expunge.report"


def environment(**known: Any) -> jinja2.Environment:
    """The templates, with the style sheet and what is `known` to all of them at hand."""
    import jinja2

    found = jinja2.Environment(
        loader=jinja2.PackageLoader(ROOM, ""),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    sheets = (files(ROOM) / name for name in ("charts.css", "page.css"))
    found.filters["code"] = _code
    found.globals |= {"style": "".join(sheet.read_text(encoding="utf-8") for sheet in sheets)} | known
    return found


def _code(text: str) -> Markup:
    """A sentence in which what stands between backticks is shown as code."""
    pieces = re.split(r"`([^`]+)`", text)
    return Markup("").join(
        Markup("<code>{}</code>").format(one) if place % 2 else one for place, one in enumerate(pieces)
    )
