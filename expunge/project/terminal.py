"""Text that others have written, as a terminal may show it: escape sequences could rewrite what a person reads."""

from __future__ import annotations

import unicodedata

_DIRECTIONS = ("LRE", "RLE", "LRO", "RLO", "PDF", "LRI", "RLI", "FSI", "PDI")
"""Characters that turn the direction of what follows them."""
REPLACED = "\N{REPLACEMENT CHARACTER}"


def turns(character: str) -> bool:
    """Whether a character turns the direction of what follows it."""
    return unicodedata.bidirectional(character) in _DIRECTIONS


def is_hidden(character: str) -> bool:
    """Whether a character is not shown but does something: a line break, an escape, a turn of direction."""
    return unicodedata.category(character) in ("Cc", "Zl", "Zp", "Cs") or turns(character)


def plain(text: str) -> str:
    """`text` on one line, with a mark in place of every character that is not shown."""
    return "".join(REPLACED if is_hidden(character) else character for character in text)
