"""Where samples come from. A source is one file here, named like the source, with a function `open_source`.

A file that lies here is a source; there is no other list. A name that begins with an underscore is a helper of the
others. Another package brings sources as entry points of the group `expunge.sources`: the name of the entry point is
that of the source, and it leads to the function.
"""

from __future__ import annotations

import pkgutil
from collections.abc import Callable
from importlib import import_module
from importlib.metadata import entry_points
from typing import TYPE_CHECKING, Any

from expunge.corpus.settings import CatalogParams

if TYPE_CHECKING:
    from expunge.corpus.sample import Source

GROUP = "expunge.sources"
SOURCES: tuple[str, ...] = tuple(
    sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))
)
"""The names of the library's own sources; none is imported for it."""


def known_sources() -> tuple[str, ...]:
    """The names of all sources (`catalog.source` in params.yaml), those of other installed packages included."""
    return tuple(sorted({*SOURCES, *(point.name for point in entry_points(group=GROUP))}))


def is_own(name: str) -> bool:
    """Whether the library itself has the source, not another installed package."""
    return name in SOURCES


def open_source(params: CatalogParams) -> Source[Any]:
    """Open the source that `params.source` names; the library's own goes before that of another package.

    The settings have already checked the name.
    """
    opener: Callable[[CatalogParams], Source[Any]]
    if params.source in SOURCES:
        opener = import_module(f"{__name__}.{params.source}").open_source
    else:
        opener = next(iter(entry_points(group=GROUP, name=params.source))).load()
    return opener(params)
