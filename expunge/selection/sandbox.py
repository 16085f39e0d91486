"""The process in which one SQL predicate is checked and computed: `python -m expunge.selection.sandbox`.

It reads a question from standard input (see `predicates`) and answers with one JSON object: the ids, or what is wrong.
"""

from __future__ import annotations

import contextlib
import io
import json
import re
import resource
import signal
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import cast

import duckdb
import pyarrow as pa

from expunge.corpus.sample import METADATA_COLUMNS
from expunge.project.errors import ExpungeError, suggest
from expunge.selection.grammar import DEPTH, check

_USED = Path("/proc/self/statm")
"""Where Linux says how many pages of memory this process has."""


def main() -> None:
    """Answer the question on standard input."""
    asked = json.loads(sys.stdin.buffer.readline())
    metadata = pa.ipc.open_stream(cast(io.BufferedIOBase, sys.stdin.buffer)).read_all()
    try:
        with opened(metadata, asked["memory"]) as connection:
            limit(asked["seconds"], asked["memory"])
            answer: dict[str, object] = {"ids": selected(connection, asked["predicate"])}
    except ExpungeError as error:
        answer = {"error": str(error)}
    except MemoryError:
        answer = {"error": "The SQL predicate cannot be computed (it needs too much memory); make it simpler."}
    signal.setitimer(signal.ITIMER_REAL, 0)
    print(json.dumps(answer))


@contextlib.contextmanager
def opened(metadata: pa.Table, memory: int) -> Iterator[duckdb.DuckDBPyConnection]:
    """A database in memory with the table `catalog` and nothing else, which may use so many bytes."""
    with duckdb.connect(":memory:") as connection:
        connection.register("given", metadata)
        # One thread: the order of rows is then part of the answer, and the limits are those of one thread.
        connection.execute(
            f"SET threads = 1; SET temp_directory = ''; SET memory_limit = '{memory >> 20}MiB'; "
            f"SET max_expression_depth = {DEPTH}; SET autoinstall_known_extensions = false; "
            "SET autoload_known_extensions = false; CREATE TABLE catalog AS SELECT * FROM given"
        )
        connection.unregister("given")
        # The spill folder has to go before the lock does.
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        yield connection


def selected(connection: duckdb.DuckDBPyConnection, predicate: str) -> list[str]:
    """Ids for which `predicate` is true.

    Raises:
        ExpungeError: as `predicates.query_ids`, the limits aside: those end the process.
    """
    try:
        check(connection, predicate)
        found = connection.execute(f"SELECT sample_id FROM catalog WHERE (\n{predicate}\n)").fetchall()
    except duckdb.Error as error:
        raise ExpungeError(_problem(error)) from None
    return [row[0] for row in found]


def limit(seconds: float, memory: int) -> None:
    """Let the system end this process after `seconds`, and refuse it more than `memory` bytes beyond what it has.

    The alarm's default action is to end the process, whatever a library does at that moment.
    """
    used = int(_USED.read_text().split()[0]) * resource.getpagesize() if _USED.exists() else 0
    # DuckDB counts its own memory up to `memory`; half as much again is for what it does not count.
    most = used + memory + memory // 2
    # The alarm comes first; this is for a process that found a way to switch it off.
    cpu = int(time.process_time() + seconds) + 30
    resource.setrlimit(resource.RLIMIT_AS, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (cpu, cpu + 5))
    resource.setrlimit(resource.RLIMIT_FSIZE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.setitimer(signal.ITIMER_REAL, seconds)


def _problem(error: duckdb.Error) -> str:
    """What to mend, without values from the catalog: only these three kinds of errors come from the text alone."""
    if not isinstance(error, (duckdb.ParserException, duckdb.BinderException, duckdb.CatalogException)):
        return f"The SQL predicate cannot be computed ({type(error).__name__}); check types and sizes."
    message = str(error).splitlines()[0]
    if column := re.search(r'column "([^"]*)" not found', message):
        name = column.group(1)
        return (
            f"--where: there is no column {name!r}{suggest(name, METADATA_COLUMNS)}. The columns are "
            f"{', '.join(METADATA_COLUMNS)}; text is written in 'single' quotes."
        )
    return f"--where is not a valid SQL predicate. {message.rstrip('.!')}."


if __name__ == "__main__":
    main()
