"""The gate's limits beside those that the library ships: a release that a loosened gate let pass is to be known by it.

Somebody who raises a limit can let any model pass.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from expunge.evaluation.settings import GateParams

SHIPPED: dict[str, Any] = {
    name: field.get_default() for name, field in GateParams.model_fields.items() if not field.is_required()
}


def limits(used: Mapping[str, Any]) -> dict[str, Any]:
    """The limits `used`, those that the library has shipped, and the names of those that are looser than shipped."""
    looser = [name for name, limit in SHIPPED.items() if name in used and _is_looser(name, used[name], limit)]
    return {"used": dict(used), "shipped": dict(SHIPPED), "looser": sorted(looser)}


def _is_looser(name: str, used: float, shipped: float) -> bool:
    more_is_stricter = name.startswith("min_") or name in ("stand_ins", "few_captions")
    return used < shipped if more_is_stricter else used > shipped
