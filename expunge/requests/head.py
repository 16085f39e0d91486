"""The head of the ledger: number and hash of its last event, under the project's key, in the database and beside it.

A chain of hashes shows what was changed in the middle; whoever can write to the database can still cut its end off, or
write a new end with new hashes. So the last event stands twice under an HMAC: in the database, changed in the very
transaction that appends, and in a file of the machine, brought up to date before an append is acknowledged. A kill
between the two leaves the file behind the database, never the other way round; so the rule is: the database ends with
the event that its own head names, and holds the event that the file names.

Somebody who can replace the database *and* the file by an older pair is found by the events that certificates and
MLflow's tags name, and by nothing else; docs/threat-model.md says so.
"""

from __future__ import annotations

import contextlib
import hmac
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from filelock import FileLock
from pydantic import Field, ValidationError

from expunge.project.errors import ExpungeError
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.project.schema import Block
from expunge.requests.events import GENESIS, Event
from expunge.requests.keys import keyed_digest

PURPOSE = "ledger head"
METADATA = sa.MetaData()
HEAD = sa.Table(
    "ledger_head",
    METADATA,
    sa.Column("id", sa.Integer, primary_key=True, autoincrement=False),
    sa.Column("content", sa.Text, nullable=False),
    sa.Column("mac", sa.String(64), nullable=False),
)


class HeadBroken(ExpungeError):
    """The ledger does not end as its heads say, or a head is lost."""


class Sealing(Block):
    """That a person sealed the ledger again after a head was lost: what came before is vouched for otherwise or not."""

    at: str
    by: str
    seq: int


class Head(Block):
    """Number and hash of the last event; 0 and `GENESIS` of an empty ledger.

    Attributes:
        sealings: each time that a lost head was replaced by `expunge repair` or a ledger restored.
    """

    seq: int = Field(ge=0)
    hash: str
    sealings: tuple[Sealing, ...] = ()

    @classmethod
    def at(cls, tail: Event | None, sealings: tuple[Sealing, ...] = ()) -> Head:
        seq, digest = (tail.seq, tail.hash) if tail else (0, GENESIS)
        return cls(seq=seq, hash=digest, sealings=sealings)


class Heads:
    """Reads, checks and writes both heads of the ledger of the project at `root`.

    Raises:
        HeadBroken: every method that reads one, where it is damaged or was made under another key.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._has_table = False
        self.file = Paths(root).ledger_head

    def inside(self, connection: sa.Connection) -> Head | None:
        """The head in the database, None where there is none."""
        if not self._has_table:
            self._has_table = sa.inspect(connection).has_table(HEAD.name)
        if not self._has_table:
            return None
        row = connection.execute(sa.select(HEAD).where(HEAD.c.id == 1)).mappings().first()
        return self._opened(row["content"], row["mac"], "in the database") if row else None

    def outside(self) -> Head | None:
        """The head in the file, None where there is none."""
        try:
            stored = json.loads(self.file.read_text(encoding="utf-8"))
            return self._opened(json.dumps(stored["head"]), stored["mac"], str(self.file))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, KeyError, TypeError):
            raise _broken(f"Its head in {self.file} cannot be read") from None

    def check(self, connection: sa.Connection, tail: Event | None, hash_at: Callable[[int], str | None]) -> Head:
        """The head in the database, once it fits `tail`, the last event, and the file.

        Args:
            hash_at: the hash of the event with a number, None where there is none.

        Raises:
            HeadBroken: events were changed, cut off or rolled back, or a head is lost.
        """
        inside, outside = self.inside(connection), self.outside()
        if inside is None:
            raise _broken("Its head in the database is gone")
        if (inside.seq, inside.hash) != (tail.seq if tail else 0, tail.hash if tail else GENESIS):
            raise _broken(f"It should end with event {inside.seq}, and its end was changed or cut off")
        if outside is None and inside.seq:
            raise _broken(f"Its head beside the database, {self.file}, is gone")
        if outside and outside.seq and hash_at(outside.seq) != outside.hash:
            raise _broken(f"It lacks event {outside.seq}, which was recorded already: it was rolled back or rewritten")
        return inside

    def kept_sealings(self, connection: sa.Connection) -> tuple[Sealing, ...]:
        """The sealings that a head which can still be read remembers, for the head that replaces it."""
        for read in (partial(self.inside, connection), self.outside):
            with contextlib.suppress(HeadBroken):
                if (head := read()) is not None:
                    return head.sealings
        return ()

    def put_inside(self, connection: sa.Connection, head: Head) -> None:
        """Write the head in the database, in the transaction of `connection`."""
        content = head.model_dump_json()
        connection.execute(HEAD.delete())
        connection.execute(HEAD.insert(), {"id": 1, "content": content, "mac": self._mac(content)})

    def put_outside(self, head: Head, again: bool = False) -> None:
        """Write the head in the file, unless another process has written a later one.

        Args:
            again: replace whatever is there, as after a restore.

        Raises:
            ExpungeError: the file cannot be written; then the ledger is ahead of it.
        """
        self.file.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(self.file.with_suffix(".lock")):
            if not again and (known := self.outside()) and known.seq >= head.seq:
                return
            content = json.loads(head.model_dump_json())
            write_json(self.file, {"head": content, "mac": self._mac(json.dumps(content))})

    def _opened(self, content: str, mac: str, where: str) -> Head:
        try:
            head = Head.model_validate_json(content)
            if hmac.compare_digest(self._mac(content), mac):
                return head
        except (ValidationError, ValueError, TypeError):
            pass
        raise _broken(f"Its head {where} was changed, or sealed under another key")

    def _mac(self, content: str) -> str:
        return keyed_digest(self._root, PURPOSE, json.loads(content))


def _broken(reason: str) -> HeadBroken:
    return HeadBroken(
        f"The ledger cannot be trusted. {reason}. Restore it (`expunge restore FILE`), or see `expunge repair`."
    )


def facts(head: Head) -> dict[str, Any]:
    """What others keep of a head: number and hash."""
    return {"seq": head.seq, "hash": head.hash}
