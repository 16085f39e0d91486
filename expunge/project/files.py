"""Digests and atomic writes: the only ways in which Expunge names and produces a file.

A file appears under its final name complete or not at all: it is written beside its destination, synced and
renamed. In-place writes are never used, because DVC may link a workspace file to its cache.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from expunge.project.errors import ExpungeError
from expunge.project.reading import strict_json

CHUNK = 1 << 20


def sha256_bytes(data: bytes) -> str:
    """Hex SHA-256 of `data`."""
    return hashlib.sha256(data).hexdigest()


def sha256_file(path: Path) -> str:
    """Hex SHA-256 of a file's content, read in 1 MiB pieces."""
    digest = hashlib.sha256()
    with open(path, "rb") as stream:
        while block := stream.read(CHUNK):
            digest.update(block)
    return digest.hexdigest()


def canonical_json(value: Any) -> bytes:
    """The one JSON spelling that is hashed: sorted keys, no spaces, UTF-8."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def digest_of(value: Any) -> str:
    """Hex SHA-256 of a JSON-serialisable value in its canonical spelling."""
    return sha256_bytes(canonical_json(value))


@contextlib.contextmanager
def atomic_path(target: Path, private: bool = False) -> Iterator[Path]:
    """Yield a temporary path in `target`'s folder; rename it to `target` when the block ends well.

    The mode is what the user's umask leaves of 0666; 0600 where the file is `private`.

    Raises:
        ExpungeError: the disk is full or the folder cannot be written. Nothing is left behind.
    """
    target = Path(target)
    partial = None
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Cut: a file system allows 255 bytes, and the name of the target may have as many.
        stem = os.fsencode(target.name)[:200].decode(errors="ignore")
        name = target.with_name(f".{stem}.{secrets.token_hex(6)}.partial")
        # Not mkstemp, whose mode is always 0600: only the system can apply the umask without changing it.
        os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600 if private else 0o666))
        partial = name
        yield partial
        with open(partial, "rb+") as stream:
            os.fsync(stream.fileno())
        os.replace(partial, target)
    except OSError as error:
        raise ExpungeError(f"Cannot write {target}: {error.strerror or error}. Nothing was changed.") from error
    finally:
        if partial is not None:
            partial.unlink(missing_ok=True)


def write_bytes(target: Path, data: bytes, private: bool = False) -> None:
    """Write `data` to `target` atomically; only the user may read what is `private`."""
    with atomic_path(target, private) as partial:
        partial.write_bytes(data)


def json_bytes(value: Any) -> bytes:
    """The content of a JSON file: indented, with sorted keys."""
    return (json.dumps(value, indent=2, sort_keys=True, ensure_ascii=False, allow_nan=False) + "\n").encode()


def rounded(value: Any, digits: int = 9) -> Any:
    """`value` with its floats in `digits` significant digits: nine are enough for any use, and readable."""
    if isinstance(value, dict):
        return {key: rounded(item, digits) for key, item in value.items()}
    if isinstance(value, list):
        return [rounded(item, digits) for item in value]
    return float(f"{value:.{digits}g}") if isinstance(value, float) else value


def write_json(target: Path, value: Any) -> None:
    """Write `value` as JSON, atomically."""
    write_bytes(target, json_bytes(value))


def read_json(path: Path) -> Any:
    """Read a JSON file.

    Raises:
        ExpungeError: the file is missing or is not JSON.
    """
    try:
        return strict_json(Path(path).read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise ExpungeError(f"{path} is missing. Run `dvc repro` to build it.") from None
    except ValueError as error:
        raise ExpungeError(f"{path} is not valid JSON ({error}). Delete it and run `dvc repro`.") from None


def clear_partials(folder: Path) -> None:
    """Remove what a killed process left half written in `folder`."""
    for leftover in Path(folder).glob(".*.partial"):
        leftover.unlink(missing_ok=True)
