"""Where samples come from. A source is a function `(CatalogParams) -> Source`; `SOURCES` is the whole list."""

from __future__ import annotations

from collections.abc import Callable
from importlib import import_module

from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams

SOURCES: dict[str, str] = {
    "openmoji": "expunge.corpus.sources.openmoji:open_source",
}
"""Source name (`catalog.source` in params.yaml) → `module:function`, imported on first use."""


def open_source(params: CatalogParams) -> Source:
    """Open the source that `params.source` names. The settings have already checked the name."""
    module, function = SOURCES[params.source].split(":")
    opener: Callable[[CatalogParams], Source] = getattr(import_module(module), function)
    return opener(params)
