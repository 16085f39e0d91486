"""What a SQL predicate may say: node kinds, functions and types of DuckDB's syntax tree that are allowed, nothing else.

Everything here is a function of the catalog alone: the same request must select the same samples today, tomorrow and
in a replay. So there are no dates (the catalog has none, and `'today'` is one), no chance and no settings.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import duckdb

from expunge.corpus.sample import METADATA_COLUMNS
from expunge.project.errors import ExpungeError

DEPTH = 200
"""How deep expressions may nest."""


def _set(text: str) -> frozenset[str]:
    return frozenset(text.split())


EXPRESSIONS = _set(
    "BETWEEN CASE CAST COLLATE COLUMN_REF COMPARISON CONJUNCTION CONSTANT FUNCTION LAMBDA LAMBDA_REF OPERATOR "
    "SUBQUERY TYPE"
)
PARTS = _set("BASE_TABLE DISTINCT_MODIFIER EMPTY JOIN ORDER_MODIFIER SELECT_NODE SUBQUERY")
"""Parts of queries within the predicate, which may read the catalog."""

FUNCTIONS = (
    # text
    _set("~~ !~~ ~~* !~~* like_escape ilike_escape not_like_escape not_ilike_escape || concat concat_ws contains")
    | _set("ends_with instr lcase left length lower ltrim nfc_normalize prefix regexp_extract regexp_full_match")
    | _set("regexp_matches replace right rtrim split_part starts_with string_split strip_accents strlen substr")
    | _set("substring suffix trim ucase upper")
    # numbers
    | _set("+ - * / // % abs ceil floor greatest least round sqrt")
    # missing values
    | _set("coalesce ifnull nullif")
    # lists and structs, such as `captions`
    | _set("array_contains array_extract array_length len list_apply list_contains list_distinct list_extract")
    | _set("list_filter list_has list_has_all list_has_any list_position list_transform list_unique list_value")
    | _set("struct_extract struct_pack unnest")
    # over several rows
    | _set("avg bool_and bool_or count count_if count_star max min sum")
)
TYPES = _set(
    "bigint bool boolean double float hugeint int int2 int4 int8 integer long real short smallint string text tinyint "
    "ubigint uinteger usmallint utinyint varchar"
)
VALUES = _set(
    "current_catalog current_date current_database current_role current_schema current_time current_timestamp "
    "current_user localtime localtimestamp session_user user"
)
"""Functions that are written without brackets, as a column is."""


def check(connection: duckdb.DuckDBPyConnection, predicate: str) -> None:
    """Refuse what is not one deterministic expression over the catalog.

    Text that closes the bracket around it cannot fit both kinds of brackets, so the two readings together prove that
    it is one expression. The newlines keep a comment at its end from swallowing the closing bracket.

    Raises:
        ExpungeError: it says something that is not allowed.
        duckdb.Error: it is not SQL.
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
    [text] = connection.execute("SELECT json_serialize_sql(?::VARCHAR)", [sql]).fetchone() or [""]
    rows = connection.execute("SELECT DISTINCT lower(function_name) FROM duckdb_functions()").fetchall()
    bare = VALUES | {name for (name,) in rows}
    for node in _nodes(json.loads(text)):
        _check_node(node, bare)


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


def _check_node(node: dict, bare: frozenset[str]) -> None:
    kind, expression = node.get("type"), node.get("class")
    if kind == "BASE_TABLE" and node["table_name"].lower() != "catalog":
        raise ExpungeError(f"--where may read the table catalog only, not {node['table_name']!r}.")
    if node.get("sample"):
        raise ExpungeError("--where may not sample at random; the same predicate must select the same samples.")
    if expression is not None and expression not in EXPRESSIONS:
        raise ExpungeError(f"--where may not use {_words(expression)}; it takes a plain predicate.")
    if expression is None and isinstance(kind, str) and kind not in PARTS:
        raise ExpungeError(f"--where may not use {_words(kind)}; it takes a plain predicate.")
    if node.get("map"):
        raise ExpungeError("--where may not name queries (WITH); it takes a plain predicate.")
    if expression == "FUNCTION" and node["function_name"].lower() not in FUNCTIONS:
        raise ExpungeError(f"--where may not call {node['function_name']}(); it knows text, number and list functions.")
    if expression == "TYPE" and node["type_name"].lower() not in TYPES:
        raise ExpungeError(f"--where may not use the type {node['type_name']}; it knows text, numbers and booleans.")
    names = node.get("column_names") or []
    if len(names) == 1 and names[0].lower() in bare and names[0].lower() not in METADATA_COLUMNS:
        raise ExpungeError(f"--where may not use {names[0]}; the same predicate must select the same samples.")


def _words(kind: str) -> str:
    return kind.lower().replace("_", " ")
