"""Campaign: hostile input for everything that reads what strangers, or a damaged disk, may have written.

Inputs come from Hypothesis, which draws the same ones each time. A reader holds if it answers or refuses in words,
and soon.
"""

from __future__ import annotations

import contextlib
import io
import json
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import yaml
from hypothesis import HealthCheck, Phase, given, settings
from PIL import Image

from bench.hostile.inputs import hostile
from bench.hostile.row import Outcome, Row
from bench.hostile.scene import ROOT
from expunge.corpus.catalog import Catalog
from expunge.corpus.pictures import decode_image
from expunge.corpus.sample import SCHEMA
from expunge.evaluation.metrics import read_metrics
from expunge.intake.submissions import read_submissions
from expunge.lineage.dvc.locks import read_locks
from expunge.near_duplicates import suppression_head
from expunge.project.errors import ExpungeError
from expunge.project.files import json_bytes
from expunge.project.paths import Paths
from expunge.project.reading import strict_json, strict_yaml
from expunge.proof.locked import lock_checks
from expunge.proof.settings import CertificateParams
from expunge.proof.signing import read_signed, sign, signing_key
from expunge.releases.chain import chain, load_release
from expunge.releases.registration import registration_of
from expunge.repair.sealed import seal, unseal
from expunge.requests.head import Head, Heads
from expunge.requests.table import read_seed
from expunge.selection import sandbox
from expunge.settings import load_params

SECONDS = 5.0
"""An input that takes longer has not held."""
PLAIN: dict[str, tuple[type[Exception], ...]] = {"YAML": (yaml.YAMLError,), "JSON": (ValueError,)}
"""What a reader raises that users do not meet; all others raise `ExpungeError`."""

SUBMISSION = {"external_reference": "T-1", "basis": "ccpa", "selectors": [{"kind": "class", "class_name": "apple"}]}
CSV = b"external_reference,basis,kind,value\nT-1,ccpa,class,apple\n"
RELEASE = (ROOT / "releases" / "r001" / "release.yaml").read_bytes()
LOCK = b"schema: '2.0'\nstages:\n  a:\n    cmd: x\n    outs:\n    - path: y\n      hash: md5\n      md5: ab\n"
PREDICATES = [
    b"class = 'apple' and caption like 'x%'",
    b"list_contains([c.text for c in captions], 'x') or split = 'test'",
]
PASSPHRASE = "a passphrase of the campaign"


class Target(NamedTuple):
    """A reader, and inputs that it takes."""

    what: str
    read: Callable[[bytes], object]
    starts: Sequence[bytes]


def attack(target: Target, tries: int) -> Row:
    """Feed a reader; the inputs depend on its sound ones alone."""
    row = Row(target.what)

    @settings(
        max_examples=tries,
        derandomize=True,
        database=None,
        deadline=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(hostile(target.starts))
    def feed(data: bytes) -> None:
        if row.tried < tries:
            started = time.monotonic()
            row.add(answer(target, data), time.monotonic() - started)

    feed()
    return row


def answer(target: Target, data: bytes) -> Outcome:
    """Whether the reader answers or refuses in words, in time."""
    started = time.monotonic()
    note = "answered"
    try:
        target.read(data)
    except PLAIN.get(target.what, (ExpungeError,)):
        note = "refused"
    except Exception as error:
        return Outcome((f"{type(error).__name__}: {error} on {data[:200]!r}",))
    seconds = time.monotonic() - started
    return Outcome((f"{seconds:.1f} s on {data[:200]!r}",)) if seconds > SECONDS else Outcome(note=note)


@contextlib.contextmanager
def targets() -> Iterator[list[Target]]:
    """Every reader, on files in a folder of its own."""
    from fake_release import metrics_of

    with tempfile.TemporaryDirectory(prefix="expunge-parsers-") as name:
        paths = Paths(Path(name))
        empty = pa.Table.from_pylist([], schema=pa.schema([field for field in SCHEMA if field.name != "image"]))
        signer = signing_key(paths, CertificateParams())
        key, envelope = signer.public_key, sign({"_type": "statement", "predicate": {"release": "r001"}}, signer)
        certificate = paths.release("r001").certificate
        Heads(paths.root).put_outside(Head.at(None))
        suppression_head.expect(paths, 0, [])
        registration, where = paths.release("r001").registration, paths.release("r001")
        with sandbox.opened(empty, 1 << 30) as connection:
            yield [
                Target("YAML", _text(strict_yaml), [RELEASE, b"a: &a [1]\nb: [*a, *a]\n", b"[" * 500]),
                Target("JSON", _text(strict_json), [json.dumps(SUBMISSION).encode(), b"[" * 5000]),
                Target("params.yaml", _file(paths.params, load_params), [(ROOT / "params.yaml").read_bytes()]),
                Target("release.yaml", _file(where.description, lambda path: load_release(paths, "r001")), [RELEASE]),
                Target("live.yaml", _file(paths.live, lambda path: chain(paths)), [b"live: base\n"]),
                Target(
                    "submissions, JSON",
                    _file(paths.root / "x.json", read_submissions),
                    [json.dumps(SUBMISSION).encode()],
                ),
                Target("submissions, CSV", _file(paths.root / "x.csv", read_submissions), [CSV]),
                Target("predicates", _text(lambda sql: sandbox.selected(connection, sql)), PREDICATES),
                Target("pictures", lambda data: decode_image(data, "x"), _pictures()),
                Target(
                    "certificate",
                    _file(certificate, lambda path: read_signed(path, key)),
                    [envelope, b"[" * 5000],
                ),
                Target(
                    "registration.json",
                    _file(registration, lambda path: registration_of(paths, "r001")),
                    [json_bytes(_registration())],
                ),
                Target(
                    "metrics.json",
                    _file(where.metrics, read_metrics),
                    [json_bytes(metrics_of("r001", "base", ["req-0001"], gold=True, passed=True))],
                ),
                Target(
                    "catalog.json",
                    _file(paths.catalog / "catalog.json", lambda path: Catalog(paths.catalog)),
                    [b'{"source": "x", "shards": []}'],
                ),
                Target(
                    "dvc.lock",
                    _file(paths.root / "dvc.lock", lambda path: (lock_checks(paths), read_locks(paths))),
                    [LOCK],
                ),
                Target(
                    "ledger's head",
                    _file(paths.ledger_head, lambda path: Heads(paths.root).outside()),
                    [paths.ledger_head.read_bytes()],
                ),
                Target(
                    "suppression's head",
                    _file(paths.suppression_head, lambda path: suppression_head.check(paths)),
                    [paths.suppression_head.read_bytes()],
                ),
                Target(
                    "seed of a ledger",
                    _file(paths.root / "seed.jsonl", read_seed),
                    [(ROOT / "requests" / "seed.jsonl").read_bytes()],
                ),
                Target("backup", lambda data: unseal(data, PASSPHRASE), [seal(b"content", PASSPHRASE)]),
            ]


def _registration() -> dict[str, Any]:
    digests = ("release", "model", "parent_model", "forget", "description", "metrics", "catalog")
    content: dict[str, Any] = {f"{part}_digest": "0" * 64 for part in digests}
    content |= {"release": "r001", "parent": "base", "verdict": "passed", "gold_model_digest": None}
    return content | {"data_version": "0" * 32, "method": "finetune", "requests": {}, "files": {}}


def _text(read: Callable[[str], object]) -> Callable[[bytes], object]:
    return lambda data: read(data.decode("utf-8", "replace"))


def _file(path: Path, read: Callable[[Path], object]) -> Callable[[bytes], object]:
    path.parent.mkdir(parents=True, exist_ok=True)

    def written(data: bytes) -> object:
        path.write_bytes(data)
        return read(path)

    return written


def _pictures() -> list[bytes]:
    found = []
    for kind in ("PNG", "JPEG", "GIF", "BMP", "TIFF", "WEBP"):
        stream = io.BytesIO()
        Image.new("RGB", (16, 16), "red").save(stream, kind)
        found.append(stream.getvalue())
    return found
