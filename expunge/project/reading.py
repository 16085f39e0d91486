"""Reading what came from elsewhere: plain files within a limit, JSON and YAML that mean one thing and end.

The parsers' defaults are generous: the last of two equal keys wins, a few lines of YAML stand for gigabytes, and
nesting ends in a crash of the interpreter's stack.
"""

from __future__ import annotations

import json
import os
import stat
from pathlib import Path
from typing import Any

import yaml

from expunge.project.errors import ExpungeError

DEPTH = 60
"""How deep JSON and YAML may nest; the project's own files need fewer than ten levels."""
MAX_BYTES = 64 << 20
"""A settings file of more bytes is not read."""


def read_plain(path: Path, limit: int, follow: bool = True) -> bytes:
    """The content of an ordinary file, of at most `limit` bytes.

    Pipes and devices are refused without waiting for them, and links too unless `follow`.

    Raises:
        ExpungeError: it is not an ordinary file or is larger.
        OSError: it cannot be opened.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | (0 if follow else os.O_NOFOLLOW)
    with os.fdopen(os.open(path, flags), "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise ExpungeError(f"{path} is not an ordinary file.")
        content = stream.read(limit + 1)
    if len(content) > limit:
        raise ExpungeError(f"{path} has more than {limit >> 20} MiB; give a smaller one.")
    return content


def strict_json(text: str) -> Any:
    """The value of a JSON text.

    Raises:
        ValueError: it is not JSON, repeats a key of an object, or nests too deep.
    """
    try:
        value = json.loads(text, object_pairs_hook=_unique)
    except RecursionError:
        raise ValueError("it nests too deep") from None
    waiting = [(value, 0)]
    while waiting:
        part, depth = waiting.pop()
        if depth > DEPTH:
            raise ValueError("it nests too deep")
        children = part.values() if isinstance(part, dict) else part if isinstance(part, list) else ()
        waiting += ((child, depth + 1) for child in children)
    return value


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, value in pairs:
        if key in found:
            raise ValueError("an object has the same key twice")
        found[key] = value
    return found


class _StrictLoader(yaml.SafeLoader):
    """Plain YAML: no aliases, by which a few lines can stand for gigabytes, no equal keys, no deep nesting."""

    _depth = 0

    def compose_node(self, parent: Any, index: Any) -> Any:
        event = self.peek_event()
        if isinstance(event, yaml.AliasEvent):
            problem = "aliases are not allowed; write the value out"
            raise yaml.MarkedYAMLError(None, None, problem, event.start_mark)  # type: ignore[arg-type]  # the stub forgets the C mark
        self._depth += 1
        if self._depth > DEPTH:
            raise yaml.MarkedYAMLError(None, None, "it nests too deep", event.start_mark)
        node = super().compose_node(parent, index)
        self._depth -= 1
        return node

    def construct_mapping(self, node: Any, deep: bool = False) -> Any:
        keys = [(key.tag, key.value) for key, _ in node.value if isinstance(key, yaml.ScalarNode)]
        if len(set(keys)) != len(keys):
            raise yaml.MarkedYAMLError(problem="a mapping has the same key twice", problem_mark=node.start_mark)
        return super().construct_mapping(node, deep)


def strict_yaml(text: str) -> Any:
    """The value of a YAML text.

    Raises:
        yaml.YAMLError: it is not YAML, uses an alias, repeats a key, or nests too deep.
    """
    try:
        return yaml.load(text, _StrictLoader)
    except (ValueError, TypeError, RecursionError) as error:
        # PyYAML lets through what Python says of impossible dates and unhashable keys.
        raise yaml.MarkedYAMLError(problem=f"a value is not valid ({' '.join(str(error).split())[:100]})") from None
