"""SQL predicates over the catalog's metadata, from people who are not trusted with more than that."""

from __future__ import annotations

import json
import re
import threading
from collections.abc import Iterator, Set
from typing import Any

import duckdb

from expunge.corpus.catalog import Catalog
from expunge.corpus.sample import METADATA_COLUMNS
from expunge.project.errors import ExpungeError, suggest

SQL_SECONDS = 30.0
SQL_MEMORY = "2GB"
SQL_DEPTH = 200


def query_ids(catalog: Catalog, predicate: str, seconds: float = SQL_SECONDS) -> list[str]:
    """Ids for which a SQL predicate over the catalog's columns is true, in catalog order.

    The predicate runs in a DuckDB in memory that holds the metadata as the view `catalog`, cannot reach files or the
    network, and is stopped after `seconds`.

    Raises:
        ExpungeError: it is not exactly one predicate, names an unknown column, reads anything but the catalog, gives
            another answer each time, or cannot be computed. Values from the catalog are never part of the message.
    """
    with duckdb.connect(":memory:") as connection:
        connection.register("catalog", catalog.metadata)
        # The spill folder has to go before the lock does.
        connection.execute(
            f"SET temp_directory = ''; SET memory_limit = '{SQL_MEMORY}'; SET max_expression_depth = {SQL_DEPTH}"
        )
        connection.execute("SET enable_external_access = false; SET lock_configuration = true")
        try:
            _check_predicate(connection, predicate)
            found = _run(connection, f"SELECT sample_id FROM catalog WHERE (\n{predicate}\n)", seconds)
        except duckdb.Error as error:
            raise ExpungeError(_sql_problem(error)) from None
    return sorted((row[0] for row in found), key=catalog.row_of.__getitem__)


def _run(connection: duckdb.DuckDBPyConnection, sql: str, seconds: float) -> list[tuple]:
    timer = threading.Timer(seconds, connection.interrupt)
    timer.start()
    try:
        return connection.execute(sql).fetchall()
    except duckdb.InterruptException:
        raise ExpungeError(f"The SQL predicate takes longer than {seconds:g} s; make it simpler.") from None
    finally:
        timer.cancel()


def _check_predicate(connection: duckdb.DuckDBPyConnection, predicate: str) -> None:
    """Refuse what is not one deterministic expression over the catalog.

    Text that closes the bracket around it cannot fit both kinds of brackets, so the two readings together prove that
    it is one expression. The newlines keep a comment at its end from swallowing the closing bracket.
    """
    for opening, closing in ("()", "[]"):
        sql = f"SELECT {opening}\n{predicate}\n{closing}"
        try:
            statements = duckdb.extract_statements(sql)
        except duckdb.ParserException:
            if opening == "(":
                raise
            statements = []
        if len(statements) != 1 or statements[0].type != duckdb.StatementType.SELECT:
            raise ExpungeError("--where takes exactly one SQL predicate, such as: class = 'drink' AND split = 'train'.")
    tree = json.loads(connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone()[0])
    unstable = {
        name
        for (name,) in connection.execute(
            "SELECT DISTINCT function_name FROM duckdb_functions() WHERE stability <> 'CONSISTENT'"
        ).fetchall()
    }
    for node in _nodes(tree):
        _check_node(node, unstable)


def _nodes(tree: Any) -> Iterator[dict]:
    """Every object of a JSON tree, however deep."""
    waiting = [tree]
    while waiting:
        value = waiting.pop()
        if isinstance(value, dict):
            yield value
            waiting += value.values()
        elif isinstance(value, list):
            waiting += value


def _check_node(node: dict, unstable: Set[str]) -> None:
    """Refuse a node of DuckDB's syntax tree that reads elsewhere or is not a function of the catalog."""
    kind = node.get("type")
    if kind == "BASE_TABLE" and node["table_name"].lower() != "catalog":
        raise ExpungeError(f"--where may read the table catalog only, not {node['table_name']!r}.")
    if kind == "TABLE_FUNCTION" and node["function"]["function_name"] != "unnest":
        raise ExpungeError(f"--where may not call {node['function']['function_name']}(); it reads the catalog only.")
    if node.get("sample"):
        raise ExpungeError("--where may not sample at random; the same predicate must select the same samples.")
    # `current_date` and its like are written without brackets, as a column is.
    names = node.get("column_names") or ([node["function_name"]] if "function_name" in node else [])
    if len(names) == 1 and names[0].lower() in unstable and names[0].lower() not in METADATA_COLUMNS:
        raise ExpungeError(f"--where may not use {names[0]}; the same predicate must select the same samples.")


def _sql_problem(error: duckdb.Error) -> str:
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
