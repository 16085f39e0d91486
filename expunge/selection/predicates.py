"""SQL predicates over the catalog's metadata, from people who are not trusted with more than that.

Which words a predicate may use is decided in `grammar`; it is parsed and computed in a process of its own (`sandbox`),
whose memory and time the system limits, for a database stops itself only where it thinks of it.
"""

from __future__ import annotations

import json
import signal
import subprocess
import sys

import pyarrow as pa

from expunge.corpus.catalog import Catalog
from expunge.project.errors import ExpungeError

SQL_SECONDS = 30.0
START_SECONDS = 120.0
"""What the process may take besides, to start and to read the metadata, on a machine that is busy."""
SQL_MEMORY = 2 << 30
"""Bytes that a predicate may use beyond what the metadata takes."""


def query_ids(catalog: Catalog, predicate: str, seconds: float = SQL_SECONDS) -> list[str]:
    """Ids for which a SQL predicate over the catalog's columns is true, in catalog order.

    The predicate runs in a DuckDB in memory that holds the metadata as the table `catalog` and reaches neither files
    nor the network, in a process of its own that the system ends after `seconds` and allows no more than `SQL_MEMORY`.

    Raises:
        ExpungeError: it is not exactly one predicate, names an unknown column or a function that is not allowed, reads
            anything but the catalog, could give another answer each time, or cannot be computed within the limits.
            Values from the catalog are never part of the message.
    """
    answer = _answer(_question(catalog.metadata, predicate, seconds), seconds)
    if "error" in answer:
        raise ExpungeError(answer["error"])
    return sorted(answer["ids"], key=catalog.row_of.__getitem__)


def _question(metadata: pa.Table, predicate: str, seconds: float) -> bytes:
    """One line of JSON, then the metadata as an Arrow stream."""
    head = json.dumps({"predicate": predicate, "seconds": seconds, "memory": SQL_MEMORY}).encode()
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, metadata.schema) as stream:
        stream.write_table(metadata)
    return head + b"\n" + sink.getvalue().to_pybytes()


def _answer(question: bytes, seconds: float) -> dict:
    """What the process says.

    Raises:
        ExpungeError: it was ended by the system.
    """
    # Through standard input: arguments of a process can be read by every user of the machine.
    command = [sys.executable, "-m", "expunge.selection.sandbox"]
    try:
        done = subprocess.run(command, input=question, capture_output=True, timeout=seconds + START_SECONDS)
    except subprocess.TimeoutExpired:
        raise ExpungeError(_too_long(seconds)) from None
    if done.returncode in (-signal.SIGALRM, -signal.SIGXCPU):
        raise ExpungeError(_too_long(seconds))
    try:
        return json.loads(done.stdout)
    except ValueError:
        # Its messages may hold values, so they go no further.
        raise ExpungeError(
            f"The SQL predicate cannot be computed (its process ended with status {done.returncode}); make it simpler."
        ) from None


def _too_long(seconds: float) -> str:
    return f"The SQL predicate takes longer than {seconds:g} s; make it simpler."
