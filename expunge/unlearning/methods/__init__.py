"""The methods: one file each, named like the method. A file that lies here is a method; there is no other list."""

from __future__ import annotations

import pkgutil

METHODS: tuple[str, ...] = tuple(sorted(module.name for module in pkgutil.iter_modules(__path__)))
"""The names of all methods; none is imported for it, since methods need torch."""
