"""Backup and restore of what nothing can make again: ledger, keys, suppression list, certificates.

A restore goes forward only. What was recorded after the backup and is still here stays; what releases and certificates
remember is said in the ledger again; a sample that was forgotten since stays forgotten.
"""

from __future__ import annotations

import io
import os
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

import sqlalchemy as sa
from pydantic import ValidationError

from expunge.near_duplicates import suppression, suppression_head
from expunge.project.clock import iso_seconds, utc_now
from expunge.project.errors import ExpungeError
from expunge.project.files import json_bytes, write_bytes
from expunge.project.paths import BASE, Paths
from expunge.releases.chain import chain, has_passed, is_finished, is_purged
from expunge.repair.rebuild import rebuild
from expunge.repair.records import record_again
from expunge.repair.sealed import seal, unseal
from expunge.repair.state import Site
from expunge.requests.events import Event, check_chain
from expunge.requests.ledger import Ledger
from expunge.selection.sets import read_forget

EVENTS = "events.jsonl"
CERTIFICATES = ("reports/*/certificate.json", "reports/*/certificate.md", "reports/*/certificates/*")


def backup(site: Site, target: Path, passphrase: str) -> int:
    """Write a backup to `target`, complete or not at all; return how many events it holds.

    Raises:
        ExpungeError: the ledger or the suppression list cannot be trusted: a backup must not pass a loss on.
    """
    ledger = Ledger.open(site.params.ledger, site.paths.root)
    ledger.verify_chain()
    suppression_head.check(site.paths)
    events = ledger.events()
    content = io.BytesIO()
    with tarfile.open(fileobj=content, mode="w") as archive:
        _add(archive, EVENTS, b"".join(event.model_dump_json().encode() + b"\n" for event in events))
        _add(archive, "about.json", json_bytes({"at": iso_seconds(utc_now()), "events": len(events)}))
        for path in _files(site):
            _add(archive, path.relative_to(site.paths.root).as_posix(), path.read_bytes())
    write_bytes(target, seal(content.getvalue(), passphrase), private=True)
    return len(events)


def restore(site: Site, source: Path, passphrase: str, by: str) -> list[str]:
    """Bring back what a backup holds and this project lacks; one sentence for each thing that was done.

    Killed half-way, it is run again.

    Raises:
        ExpungeError: the backup cannot be opened, or belongs to another project.
    """
    files = _opened(source, passphrase)
    events = _events(files.pop(EVENTS, b""))
    files.pop("about.json", None)
    paths, notes = site.paths, []
    for private in (paths.key, paths.root / site.params.certificate.private_key):
        name = private.relative_to(paths.root).as_posix()
        content = files.pop(name, None)
        if content is not None and private == paths.key and _nothing_under_a_key(paths):
            private.unlink(missing_ok=True)  # made by a reading command before the restore, in a clone for example
        if content is not None and private.is_file() and private.read_bytes() != content:
            raise ExpungeError(f"{private} is another key than the one in {source}: is this another project?")
        if content is not None and not private.is_file():
            _write_private(private, content)
            notes.append(f"{private} is back.")
    listed = {path.relative_to(paths.root).as_posix(): path for path in (paths.suppression, paths.suppression_head)}
    old_list = {name: files.pop(name) for name in listed if name in files}
    for name, content in files.items():
        if not (target := paths.root / name).exists():
            write_bytes(target, content)
            notes.append(f"{target} is back.")
    notes += _restore_list(site, {listed[name]: content for name, content in old_list.items()})
    ledger, said = _restore_ledger(site, events, by)
    return [*notes, *said, *rebuild(site, ledger, by), *record_again(site)]


def _nothing_under_a_key(paths: Paths) -> bool:
    """Whether this project has neither a ledger nor a suppression list that its key could be the key of."""
    return not any(path.exists() for path in (paths.ledger_head, paths.suppression, paths.suppression_head))


def _write_private(target: Path, content: bytes) -> None:
    """Write a file that nobody but its owner can read at any moment."""
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, partial = tempfile.mkstemp(prefix=f".{target.name}.", suffix=".partial", dir=target.parent)
    with os.fdopen(handle, "wb") as stream:
        stream.write(content)
        stream.flush()
        os.fsync(stream.fileno())
    os.replace(partial, target)


def _files(site: Site) -> list[Path]:
    paths, certificate = site.paths, site.params.certificate
    found = [paths.key, paths.root / certificate.private_key, paths.root / certificate.public_key]
    found += [paths.suppression, paths.suppression_head]
    found += [path for pattern in CERTIFICATES for path in sorted(paths.root.glob(pattern))]
    return [path for path in found if path.is_file()]


def _add(archive: tarfile.TarFile, name: str, content: bytes) -> None:
    entry = tarfile.TarInfo(name)
    entry.size = len(content)
    archive.addfile(entry, io.BytesIO(content))


def _opened(source: Path, passphrase: str) -> dict[str, bytes]:
    if not source.is_file():
        raise ExpungeError(f"There is no backup {source}.")
    found: dict[str, bytes] = {}
    with tarfile.open(fileobj=io.BytesIO(unseal(source.read_bytes(), passphrase))) as archive:
        for entry in archive.getmembers():
            path = PurePosixPath(entry.name)
            if not entry.isfile() or path.is_absolute() or ".." in path.parts:
                raise ExpungeError(f"{source} holds an entry that leads out of the project; it is not restored.")
            if (content := archive.extractfile(entry)) is not None:
                found[entry.name] = content.read()
    return found


def _events(content: bytes) -> list[Event]:
    try:
        events = [Event.model_validate_json(line) for line in content.splitlines()]
    except ValidationError:
        raise ExpungeError("The backup's ledger cannot be read; take another backup.") from None
    check_chain(events)
    return events


def _restore_list(site: Site, old: dict[Path, bytes]) -> list[str]:
    """The list that is here only ever grew, so it is kept if it is whole; what was forgotten since is added."""
    notes = []
    try:
        suppression_head.check(site.paths)
        whole = site.paths.suppression.is_file() or not old
    except ExpungeError:
        whole = False
    if not whole:
        for path in (site.paths.suppression, site.paths.suppression_head):
            path.unlink(missing_ok=True)
        for path, content in old.items():
            write_bytes(path, content)
        notes.append(f"{site.paths.suppression} is back.")
    for name in chain(site.paths):
        where = site.paths.release(name)
        sound = name != BASE and is_finished(site.paths, name) and has_passed(site.paths, name)
        if not sound or is_purged(site.paths, name) or not where.forget.is_file():
            continue
        forgotten = {row.sample_id for row in read_forget(where.forget)}
        if suppression.keeps_out(site.paths, forgotten):
            suppression.record(site.paths, name)
            if rest := suppression.keeps_out(site.paths, forgotten):
                suppression.record_ids(site.paths, rest)
                notes.append(f"{len(rest)} samples that {name} or its parents forgot are kept out by their ids alone.")
    return notes


def _restore_ledger(site: Site, events: list[Event], by: str) -> tuple[Ledger, list[str]]:
    """The ledger that is here if it is whole and holds the backup's events; else the backup's, beside it."""
    params, root = site.params.ledger, site.paths.root
    try:
        present = Ledger.open(params, root)
        present.verify_chain()
        here = present.events()
        if [event.hash for event in here[: len(events)]] == [event.hash for event in events]:
            return present, []
        if here and here[0].hash != events[0].hash:
            raise ExpungeError(f"The ledger {params.url} is another one than that of the backup; move it away first.")
    except ExpungeError as error:
        if "another one" in str(error):
            raise
    address = sa.make_url(params.url)
    if address.get_backend_name() == "sqlite" and (file := root / (address.database or "")).is_file():
        number = len(list(file.parent.glob(f"{file.name}.replaced-*"))) + 1
        file.rename(file.with_name(f"{file.name}.replaced-{number}"))
    ledger = Ledger.begin_again(params, root, events, by)
    return ledger, [f"The ledger has the {len(events)} events of the backup."]
