"""Selectors → forget set; neighbours → retain set; and what a request would not catch.

Pure functions over the catalog's metadata and plain arrays. Of the forgotten content only ids, scores and the rule
that caught a sample are written down. Same catalog, requests, embeddings and seed give the same files, byte by byte.
"""

from __future__ import annotations

import difflib
import json
import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from expunge.catalog import METADATA_COLUMNS, Catalog
from expunge.errors import ExpungeError
from expunge.files import atomic_path
from expunge.requests import (
    ClassSelector,
    DeletionRequest,
    IdSelector,
    Selector,
    SubjectSelector,
    TextSelector,
    WhereSelector,
)

TextScores = Callable[[str], dict[str, float]]
"""Text → cosine with every picture of a release, by sample id."""

MIN_TRAIN = 2
"""A contrastive loss needs two pairs."""

NEAR_DUPLICATE = 0.97
"""Image cosine from which two pictures count as near-duplicates in a preview."""

SQL_SECONDS = 30.0
SQL_MEMORY = "2GB"
SQL_DEPTH = 200
SUGGEST_AMONG = 100_000
"""Close names are looked for among that many: each costs some microseconds."""

BLOCK = 4096
"""Rows on each side of one block of similarities: 64 MiB of float32."""


class Vectors(Protocol):
    """Embeddings of one release: `images` and `texts` are float32 [N, D] in the order of `ids`."""

    ids: Sequence[str]
    images: np.ndarray
    texts: np.ndarray


# --- selectors → forget set --------------------------------------------------------------------------------------


class ForgetRow(NamedTuple):
    """One sample to forget for one request. `score` is a cosine where a text selected it; `reason` has no content."""

    sample_id: str
    request_id: str
    reason: str
    score: float | None
    release: str


class Match(NamedTuple):
    """Why a selector caught a sample."""

    reason: str
    score: float | None = None


@dataclass(frozen=True)
class Scope:
    """What selectors choose from: the catalog without the samples that earlier releases have forgotten."""

    catalog: Catalog
    excluded: Set[str]
    text_scores: TextScores | None

    @cached_property
    def remaining(self) -> list[str]:
        """Ids not yet forgotten, in catalog order."""
        return [sample_id for sample_id in self.catalog.ids if sample_id not in self.excluded]

    def where_equal(self, column: str, value: str) -> list[str]:
        """Ids, forgotten ones included, whose `column` is `value`."""
        cells = self.catalog.metadata[column].to_pylist()
        return [sample_id for sample_id, cell in zip(self.catalog.ids, cells, strict=True) if cell == value]


def select(
    catalog: Catalog,
    requests: Iterable[DeletionRequest],
    release: str,
    excluded: Set[str] = frozenset(),
    text_scores: TextScores | None = None,
) -> list[ForgetRow]:
    """The forget set of a batch of requests: one row for each sample and request, with the first reason that applies.

    Args:
        excluded: samples that earlier releases have forgotten; they are never selected again.
        text_scores: needed for text selectors only.

    Raises:
        ExpungeError: a request selects nothing or names something unknown, or the batch leaves fewer than two
            samples to train on. The message starts with the request's id.
    """
    rows = []
    for request in requests:
        try:
            found = matches(catalog, request.selectors, excluded, text_scores)
        except ExpungeError as error:
            raise ExpungeError(f"{request.request_id}: {error}") from None
        rows += [ForgetRow(sample_id, request.request_id, *match, release) for sample_id, match in found.items()]
    _check_enough_left(catalog, excluded | {row.sample_id for row in rows})
    return sorted(rows, key=_forget_order)


def matches(
    catalog: Catalog,
    selectors: Iterable[Selector],
    excluded: Set[str] = frozenset(),
    text_scores: TextScores | None = None,
) -> dict[str, Match]:
    """Sample id → the first reason why one of `selectors` catches it.

    Raises:
        ExpungeError: nothing is caught, or a selector names something unknown.
    """
    scope = Scope(catalog, excluded, text_scores)
    caught: dict[str, Match] = {}
    for selector in selectors:
        for sample_id, match in _MATCHERS[selector.kind](scope, selector).items():
            caught.setdefault(sample_id, match)
    fresh = {sample_id: match for sample_id, match in caught.items() if sample_id not in excluded}
    if fresh:
        return fresh
    if caught:
        raise ExpungeError("Everything that it selects has been forgotten by earlier releases already.")
    raise ExpungeError("It selects no sample; widen a selector, or reject the request.")


def _match_ids(scope: Scope, selector: IdSelector) -> dict[str, Match]:
    unknown = [sample_id for sample_id in selector.ids if sample_id not in scope.catalog.row_of]
    if unknown:
        raise ExpungeError(
            f"{len(unknown)} of {len(selector.ids)} sample ids are not in the catalog, for instance {unknown[0]!r}"
            f"{_suggest(unknown[0], scope.catalog.ids)}."
        )
    return {sample_id: Match("id") for sample_id in selector.ids}


def _match_class(scope: Scope, selector: ClassSelector) -> dict[str, Match]:
    found = scope.where_equal("class", selector.class_name)
    if not found:
        known = scope.catalog.metadata["class"].unique().to_pylist()
        raise ExpungeError(f"There is no class {selector.class_name!r}{_suggest(selector.class_name, known)}.")
    return dict.fromkeys(found, Match(selector.summary))


def _match_subject(scope: Scope, selector: SubjectSelector) -> dict[str, Match]:
    found = scope.where_equal("subject_id", selector.subject_id)
    if not found:
        # Other subjects are not suggested: a slip of the finger must not delete another person.
        raise ExpungeError(f"No sample has the subject_id {selector.subject_id!r}.")
    return dict.fromkeys(found, Match(selector.summary))


def _match_text(scope: Scope, selector: TextSelector) -> dict[str, Match]:
    if scope.text_scores is None:
        raise ExpungeError("A text selector needs the embeddings of the live release; run `dvc repro` first.")
    scores = scope.text_scores(selector.text)
    best = sorted((-scores[sample_id], sample_id) for sample_id in scope.remaining if sample_id in scores)
    if selector.top is not None:
        return {
            sample_id: Match(f"text ~ score {-negative:.2f}, rank {rank} of {selector.top}", -negative)
            for rank, (negative, sample_id) in enumerate(best[: selector.top], start=1)
        }
    return {
        sample_id: Match(f"text ~ score {-negative:.2f} >= {selector.min_score:g}", -negative)
        for negative, sample_id in best
        if -negative >= selector.min_score
    }


def _match_where(scope: Scope, selector: WhereSelector) -> dict[str, Match]:
    return dict.fromkeys(query_ids(scope.catalog, selector.sql), Match(selector.summary))


_MATCHERS: dict[str, Callable[[Scope, Any], dict[str, Match]]] = {
    "id": _match_ids,
    "class": _match_class,
    "subject": _match_subject,
    "text": _match_text,
    "where": _match_where,
}


def _suggest(word: str, known: Sequence[str]) -> str:
    """A clause with the names that look like `word`, empty where none does."""
    close = difflib.get_close_matches(word, known[:SUGGEST_AMONG], n=3, cutoff=0.7)
    return f"; the closest are {', '.join(map(repr, close))}" if close else ""


def _check_enough_left(catalog: Catalog, forgotten: Set[str]) -> None:
    splits = catalog.metadata["split"].to_pylist()
    left = sum(
        split == "train" and sample_id not in forgotten for sample_id, split in zip(catalog.ids, splits, strict=True)
    )
    if left < MIN_TRAIN:
        raise ExpungeError(
            f"The requests would leave {left} of the catalog's training samples, and a model needs {MIN_TRAIN}. "
            "Reject or narrow one of them."
        )


# --- SQL predicates ----------------------------------------------------------------------------------------------


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
            f"--where: there is no column {name!r}{_suggest(name, METADATA_COLUMNS)}. The columns are "
            f"{', '.join(METADATA_COLUMNS)}; text is written in 'single' quotes."
        )
    return f"--where is not a valid SQL predicate. {message.rstrip('.!')}."


# --- neighbours → retain set -------------------------------------------------------------------------------------


class RetainRow(NamedTuple):
    """One sample whose behaviour must stay. `score` is its nearness to the forget set, None in the random part."""

    sample_id: str
    role: Literal["neighbours", "random"]
    score: float | None


def choose_retain(
    ids: Sequence[str],
    splits: Sequence[str],
    image_embeddings: np.ndarray,
    text_embeddings: np.ndarray,
    forget: Set[str],
    neighbours: int,
    random: int,
    seed: int,
) -> list[RetainRow]:
    """The training samples nearest to the forget set, and a random part of the others.

    Nearness is the greatest mean of image-image and text-text cosine with a forget sample. Ties go to the smaller
    id; where there are fewer samples than asked for, all are taken.

    Args:
        ids, splits, image_embeddings, text_embeddings: one entry or row ([N, D]) a sample of the release.
        forget: every forgotten sample, those of earlier releases included; none is ever retained.

    Raises:
        ExpungeError: none of `forget` has an embedding, or embeddings are not finite.
    """
    targets = np.array([row for row, sample_id in enumerate(ids) if sample_id in forget], dtype=np.int64)
    rows = np.array(
        [
            row
            for row, (sample_id, split) in enumerate(zip(ids, splits, strict=True))
            if split == "train" and sample_id not in forget
        ],
        dtype=np.int64,
    )
    if not len(targets):
        raise ExpungeError("None of the samples to forget has an embedding; run `dvc repro` to embed the parent.")
    scores, _ = nearest([image_embeddings, text_embeddings], rows, targets)
    order = sorted(range(len(rows)), key=lambda place: (-scores[place], ids[rows[place]]))
    near = [RetainRow(ids[rows[place]], "neighbours", float(scores[place])) for place in order[:neighbours]]
    rest = sorted(ids[rows[place]] for place in order[neighbours:])
    drawn = np.random.default_rng(seed).choice(len(rest), size=min(random, len(rest)), replace=False)
    return near + [RetainRow(rest[place], "random", None) for place in sorted(drawn)]


def nearest(parts: Sequence[np.ndarray], rows: np.ndarray, targets: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """For each of `rows`, the greatest mean cosine over `parts` ([N, D] each) with one of `targets`, and which one.

    Works in blocks, so memory does not grow with the catalog. Scores are rounded to six decimals: float32 sums
    differ in the seventh with the place in a block, and equal pictures must tie.

    Raises:
        ExpungeError: an embedding is not finite.
    """
    best = np.full(len(rows), -np.inf, dtype=np.float32)
    which = np.zeros(len(rows), dtype=np.int64)
    for left in range(0, len(targets), BLOCK):
        reference = _unit(parts, targets[left : left + BLOCK]).T
        for start in range(0, len(rows), BLOCK):
            block = slice(start, start + BLOCK)
            similarity = _unit(parts, rows[block]) @ reference
            place = similarity.argmax(axis=1)
            score = similarity[np.arange(len(place)), place]
            better = score > best[block]
            best[block][better] = score[better]
            which[block][better] = targets[left + place[better]]
    return best.astype(np.float64).round(6), which


def _unit(parts: Sequence[np.ndarray], rows: np.ndarray) -> np.ndarray:
    """Unit vectors side by side, scaled so that a dot product is the mean of the parts' cosines."""
    units = []
    for part in parts:
        vectors = np.asarray(part[rows], dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise ExpungeError("The embeddings hold values that are not finite; run `dvc repro -f` to embed again.")
        units.append(vectors / np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12))
    return np.hstack(units) / np.float32(np.sqrt(len(parts)))


# --- files -------------------------------------------------------------------------------------------------------

FORGET_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), False),
        pa.field("request_id", pa.string(), False),
        pa.field("reason", pa.string(), False),
        pa.field("score", pa.float64()),
        pa.field("release", pa.string(), False),
    ]
)
RETAIN_SCHEMA = pa.schema(
    [
        pa.field("sample_id", pa.string(), False),
        pa.field("role", pa.string(), False),
        pa.field("score", pa.float64()),
    ]
)


def write_forget(path: Path, rows: Iterable[ForgetRow], made_from: Mapping[str, str] | None = None) -> None:
    """Write a cumulative forget set: inherited rows keep their `release`.

    Args:
        made_from: digests of what the set was made from, kept in the schema's metadata.
    """
    _write(path, sorted(rows, key=_forget_order), FORGET_SCHEMA, made_from)


def read_forget(path: Path, made_from: Mapping[str, str] | None = None) -> list[ForgetRow]:
    """Read a forget set.

    Raises:
        ExpungeError: the file is missing, damaged, or was not made from what `made_from` (if given) says.
    """
    return [ForgetRow(**row) for row in _read(path, FORGET_SCHEMA, made_from)]


def write_retain(path: Path, rows: Iterable[RetainRow], made_from: Mapping[str, str] | None = None) -> None:
    """Write a retain set: neighbours from the nearest on, then the random part by id; `made_from` as above."""
    ordered = sorted(rows, key=lambda row: (row.role, -(row.score or 0.0), row.sample_id))
    _write(path, ordered, RETAIN_SCHEMA, made_from)


def read_retain(path: Path, made_from: Mapping[str, str] | None = None) -> list[RetainRow]:
    """Read a retain set; raises as `read_forget` does."""
    return [RetainRow(**row) for row in _read(path, RETAIN_SCHEMA, made_from)]


def _forget_order(row: ForgetRow) -> tuple[str, str, str]:
    return row.release, row.request_id, row.sample_id


def _write(path: Path, rows: Sequence[NamedTuple], schema: pa.Schema, made_from: Mapping[str, str] | None) -> None:
    table = pa.Table.from_pylist([row._asdict() for row in rows], schema=schema)
    with atomic_path(path) as partial:
        pq.write_table(
            table.replace_schema_metadata(dict(sorted((made_from or {}).items()))), partial, compression="zstd"
        )


def _read(path: Path, schema: pa.Schema, made_from: Mapping[str, str] | None) -> list[dict]:
    try:
        # A folder named like a=b above the file is no column of it.
        table = pq.read_table(path, partitioning=None)
    except FileNotFoundError:
        raise ExpungeError(f"{path} is missing. Run `dvc repro` to build it.") from None
    except (OSError, pa.ArrowException) as error:
        raise ExpungeError(f"{path} cannot be read ({type(error).__name__}). Delete it and run `dvc repro`.") from None
    if not table.schema.equals(schema):
        raise ExpungeError(f"{path} has other columns than expected. Delete it and run `dvc repro`.")
    found = {key.decode(): value.decode() for key, value in (table.schema.metadata or {}).items()}
    for key, digest in (made_from or {}).items():
        if found.get(key) != digest:
            raise ExpungeError(f"{path} was made from another {key}; run `dvc repro` to bring it up to date.")
    return table.to_pylist()


# --- previews ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Sighting:
    """An unselected sample that deserves a look, and the selected one that it resembles."""

    sample_id: str
    class_name: str
    resembles: str
    score: float | None = None


@dataclass(frozen=True)
class Finding:
    """What one rule found among the samples that the request does not select.

    Attributes:
        total: how many samples it found; None where it could not be applied.
        shown: the first of them.
    """

    rule: str
    total: int | None
    shown: tuple[Sighting, ...]


@dataclass(frozen=True)
class Preview:
    """What a request selects, what lies nearest, and what it would not catch. Samples appear by id only."""

    request_id: str
    samples: int
    by_class: dict[str, int]
    by_split: dict[str, int]
    neighbours: Finding
    near_duplicates: Finding
    captions: Finding
    concepts: Finding

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON-serialisable values."""
        return asdict(self)

    def counts(self) -> dict[str, Any]:
        """Numbers alone, as the ledger keeps them."""
        return {
            "samples": self.samples,
            "by_class": self.by_class,
            "by_split": self.by_split,
            "near_duplicates": self.near_duplicates.total,
            "captions": self.captions.total,
            "concepts": self.concepts.total,
        }


def preview(
    catalog: Catalog,
    request: DeletionRequest,
    excluded: Set[str] = frozenset(),
    text_scores: TextScores | None = None,
    embeddings: Vectors | None = None,
    shown: int = 10,
) -> Preview:
    """Show what `request` would do, before anybody approves it.

    Args:
        embeddings: of the live release; without them the parts that need them say so.
        shown: how many samples each finding lists.

    Raises:
        ExpungeError: as `select` does, except that a request may select everything.
    """
    selected = set(matches(catalog, request.selectors, excluded, text_scores))
    rows = [catalog.row_of[sample_id] for sample_id in selected]
    others = [row for row, name in enumerate(catalog.ids) if name not in selected and name not in excluded]
    near, duplicates = _resemblances(catalog, embeddings, selected, others, shown)
    return Preview(
        request_id=request.request_id,
        samples=len(selected),
        by_class=_tally(catalog, "class", rows),
        by_split=_tally(catalog, "split", rows),
        neighbours=near,
        near_duplicates=duplicates,
        captions=_same_words(catalog, rows, others, shown),
        concepts=_same_concept(catalog, rows, others, shown),
    )


def _tally(catalog: Catalog, column: str, rows: Sequence[int]) -> dict[str, int]:
    """Value → count, the most frequent first."""
    counts = Counter(catalog.metadata[column].take(rows).to_pylist())
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _resemblances(
    catalog: Catalog, embeddings: Vectors | None, selected: Set[str], others: Sequence[int], shown: int
) -> tuple[Finding, Finding]:
    """The nearest retained training samples, and the near-duplicates in any split."""
    near_rule = "nearest training samples that stay, by the mean of image and caption cosine"
    duplicate_rule = f"image cosine >= {NEAR_DUPLICATE}"
    if embeddings is None:
        missing = "not available before `dvc repro embed`"
        return Finding(f"{near_rule}: {missing}", None, ()), Finding(f"{duplicate_rule}: {missing}", None, ())
    place = {sample_id: row for row, sample_id in enumerate(embeddings.ids)}
    targets = np.array(sorted(place[name] for name in selected if name in place), dtype=np.int64)
    rows = np.array([place[catalog.ids[row]] for row in others if catalog.ids[row] in place], dtype=np.int64)
    splits = catalog.metadata["split"].to_pylist()
    train = np.array([splits[catalog.row_of[embeddings.ids[row]]] == "train" for row in rows], dtype=bool)

    def closest(parts: Sequence[np.ndarray], rows: np.ndarray, least: float) -> list[tuple[str, str, float]]:
        scores, which = nearest(parts, rows, targets)
        hits = [
            (embeddings.ids[row], embeddings.ids[target], float(score))
            for row, target, score in zip(rows, which, scores, strict=True)
            if score >= least
        ]
        return sorted(hits, key=lambda hit: (-hit[2], hit[0]))

    near = closest([embeddings.images, embeddings.texts], rows[train], -1.0)[:shown]
    duplicates = closest([embeddings.images], rows, NEAR_DUPLICATE)
    return _finding(catalog, near_rule, near, shown), _finding(catalog, duplicate_rule, duplicates, shown)


def _finding(catalog: Catalog, rule: str, hits: Sequence[tuple], shown: int) -> Finding:
    """`hits` are (sample id, what it resembles[, score]), the most telling first."""
    classes = catalog.metadata["class"]
    seen = tuple(Sighting(hit[0], classes[catalog.row_of[hit[0]]].as_py(), *hit[1:]) for hit in hits[:shown])
    return Finding(rule, len(hits), seen)


def _same_concept(catalog: Catalog, rows: Sequence[int], others: Sequence[int], shown: int) -> Finding:
    concepts = catalog.metadata["concept"].to_pylist()
    owner = {concepts[row]: catalog.ids[row] for row in sorted(rows, reverse=True)}
    hits = [(catalog.ids[row], owner[concepts[row]]) for row in others if concepts[row] in owner]
    return _finding(catalog, "same concept as a selected sample, such as another skin tone", hits, shown)


def _same_words(catalog: Catalog, rows: Sequence[int], others: Sequence[int], shown: int) -> Finding:
    captions = catalog.metadata["captions"].to_pylist()
    owner: dict[tuple[str, tuple[str, ...]], str] = {}
    for row in sorted(rows):
        for caption in captions[row]:
            if tokens := words(caption["text"]):
                owner.setdefault((caption["language"], tokens), catalog.ids[row])
    lengths = sorted({len(tokens) for _, tokens in owner})
    hits = [(catalog.ids[row], hit) for row in others if (hit := _contained(captions[row], owner, lengths))]
    return _finding(catalog, "a caption holds a whole caption of a selected sample, in the same language", hits, shown)


def _contained(captions: Sequence[dict], owner: Mapping[tuple, str], lengths: Sequence[int]) -> str | None:
    """The selected sample of which a caption stands, word by word, in one of `captions`."""
    for caption in captions:
        tokens = words(caption["text"])
        for length in lengths:
            for start in range(len(tokens) - length + 1):
                piece = tokens[start : start + length]
                # A single ideograph is a word only when it stands alone: "horse" is a part of "zebra" in Chinese.
                if len(tokens) > 1 and length == 1 and _IDEOGRAPH.fullmatch(piece[0]):
                    continue
                if hit := owner.get((caption["language"], piece)):
                    return hit
    return None


_SOLID = r"\u0e00-\u0eff\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
"""Scripts written without spaces: Thai, Lao, Khmer, kana and ideographs."""
_IDEOGRAPH = re.compile(f"[{_SOLID}]")
_WORD = re.compile(f"[{_SOLID}]|[^\\W_{_SOLID}]+")


def words(text: str) -> tuple[str, ...]:
    """The words of `text` in lower case; in scripts without spaces every character counts as one."""
    return tuple(_WORD.findall(unicodedata.normalize("NFKC", text).casefold()))
