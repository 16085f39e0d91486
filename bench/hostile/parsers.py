"""Campaign: random and mutated input for everything that reads what strangers write. Seeds are fixed."""

from __future__ import annotations

import io
import json
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
import yaml
from PIL import Image

from bench.hostile.row import Row
from expunge.corpus.sample import SCHEMA
from expunge.intake.submissions import read_submissions
from expunge.models.clip import decode_image
from expunge.project.errors import ExpungeError
from expunge.project.reading import strict_json, strict_yaml
from expunge.project.schema import validated
from expunge.releases.release import Release
from expunge.selection import sandbox

SECONDS = 5.0
"""An input that takes longer has not held."""
PLAIN = {"YAML": (yaml.YAMLError,), "JSON": (ValueError,)}
"""What a reader raises that users do not meet; all others raise `ExpungeError`."""
PIECES = [
    b'"',
    b"'",
    b"[",
    b"]",
    b"{",
    b"}",
    b"&a ",
    b"*a",
    b"\0",
    b"\xff",
    b": ",
    b",",
    b"\n",
    b"9" * 40,
    b"(",
    b")",
    b"--",
]

SUBMISSION = {"external_reference": "T-1", "basis": "ccpa", "selectors": [{"kind": "class", "class_name": "apple"}]}
CSV = b"external_reference,basis,kind,value\nT-1,ccpa,class,apple\n"
RELEASE = b"release: r001\nparent: base\nmethod:\n  name: finetune\n  params: {}\ngold: true\nrequests: []\n"
PREDICATES = [
    b"class = 'apple' and caption like 'x%'",
    b"list_contains([c.text for c in captions], 'x') or split = 'test'",
]


def parsers(tries: int, seed: int = 0) -> list[Row]:
    """`tries` mutations for each parser."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder)

        def submission(suffix: str) -> Callable[[bytes], object]:
            def read(data: bytes) -> object:
                (path / f"x{suffix}").write_bytes(data)
                return read_submissions(path / f"x{suffix}")

            return read

        def release(data: bytes) -> object:
            (path / "release.yaml").write_bytes(data)
            return validated(Release, path / "release.yaml")

        def text(read: Callable[[str], object]) -> Callable[[bytes], object]:
            return lambda data: read(data.decode("utf-8", "replace"))

        empty = pa.Table.from_pylist([], schema=pa.schema([field for field in SCHEMA if field.name != "image"]))
        with sandbox.opened(empty, 1 << 30) as connection:
            targets: list[tuple[str, Callable[[bytes], object], Sequence[bytes]]] = [
                ("YAML", text(strict_yaml), [RELEASE, b"a: &a [1]\nb: [*a, *a]\n", b"[" * 500]),
                ("JSON", text(strict_json), [json.dumps(SUBMISSION).encode(), b"[" * 5000]),
                ("release.yaml", release, [RELEASE]),
                ("submissions, JSON", submission(".json"), [json.dumps(SUBMISSION).encode()]),
                ("submissions, CSV", submission(".csv"), [CSV]),
                ("predicates", text(lambda sql: sandbox.selected(connection, sql)), PREDICATES),
                ("pictures", lambda data: decode_image(data, "x"), _pictures()),
            ]
            return [_attack(what, read, starts, tries, seed) for what, read, starts in targets]


def _attack(what: str, read: Callable[[bytes], object], starts: Sequence[bytes], tries: int, seed: int) -> Row:
    draw, held = random.Random(f"{what} {seed}"), 0
    for _ in range(tries):
        data, started = _mutated(draw.choice(starts), draw), time.monotonic()
        try:
            read(data)
            sound = True
        except PLAIN.get(what, (ExpungeError,)):
            sound = True
        except Exception:
            sound = False
        held += sound and time.monotonic() - started < SECONDS
    return Row(what, tries, held)


def _mutated(start: bytes, draw: random.Random) -> bytes:
    data = bytearray(start)
    for _ in range(draw.randint(1, 6)):
        at = draw.randrange(len(data) + 1)
        end = min(len(data), at + draw.randint(0, 8))
        data[at:end] = draw.choice(
            [b"", draw.choice(PIECES) * draw.randint(1, 30), draw.randbytes(4), bytes(data[at:end]) * 3]
        )
    return bytes(data)


def _pictures() -> list[bytes]:
    found = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), "red").save(stream, kind)
        found.append(stream.getvalue())
    return found
