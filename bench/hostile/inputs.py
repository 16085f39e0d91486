"""What a stranger may write: noise, a sound file with parts changed, or sound syntax with another meaning."""

from __future__ import annotations

import json
from collections.abc import Sequence

import yaml
from hypothesis import strategies as st

PIECES = [b'"', b"'", b"[", b"]", b"{", b"}", b"&a ", b"*a", b"\0", b"\xff", b": ", b",", b"\n", b"(", b")", b"--"]
PIECES += [b"9" * 40, b"1e999", b"\x1b[2J", b"\xe2\x80\xae", b"../", b"null", b"NaN", b"!!python/name:os.system "]
TEXTS = st.one_of(st.text(max_size=20), st.sampled_from(["../../x", "\x1b[2J", "\u202e", "9" * 400, "r001; id #", ""]))
LEAVES = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), TEXTS)
VALUES = st.recursive(LEAVES, lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4))


@st.composite
def changed(draw: st.DrawFn, starts: Sequence[bytes]) -> bytes:
    """One of `starts` with up to six places overwritten, cut out, doubled or filled."""
    data = bytearray(draw(st.sampled_from(starts)))
    for _ in range(draw(st.integers(1, 6))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.integers(0, 8)))
        piece = draw(st.sampled_from(PIECES) | st.binary(max_size=4))
        data[at:end] = draw(st.sampled_from([b"", piece, piece * draw(st.integers(2, 30)), bytes(data[at:end]) * 3]))
    return bytes(data)


@st.composite
def reassembled(draw: st.DrawFn, starts: Sequence[bytes]) -> bytes:
    """One of `starts`, where it is a mapping in JSON or YAML, with one value replaced, taken away or added."""
    text = draw(st.sampled_from(starts)).decode("utf-8", "replace")
    try:
        content = yaml.safe_load(text)
    except (yaml.YAMLError, RecursionError):
        content = None
    if not isinstance(content, dict) or not content:
        return draw(st.binary(max_size=200))
    place = content
    while draw(st.booleans()):
        inner = [value for value in place.values() if isinstance(value, dict) and value]
        if not inner:
            break
        place = draw(st.sampled_from(inner))
    key = draw(st.sampled_from(sorted(place, key=str)) | TEXTS)
    if draw(st.booleans()) and key in place:
        del place[key]
    else:
        place[key] = draw(VALUES)
    return (json.dumps(content, default=str) if text.startswith("{") else yaml.safe_dump(content)).encode()


def hostile(starts: Sequence[bytes]) -> st.SearchStrategy[bytes]:
    """Inputs for a reader whose sound inputs look like `starts`."""
    return st.one_of(st.sampled_from(list(starts)), st.binary(max_size=300), changed(starts), reassembled(starts))
