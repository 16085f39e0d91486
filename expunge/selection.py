"""Selectors → forget set; neighbours → retain set.

Pure functions over the catalog's metadata and plain arrays. Of the forgotten content only ids, scores and the rule
that caught a sample are written down. Same catalog, requests, embeddings and seed give the same files, byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from expunge.catalog import Catalog
from expunge.errors import ExpungeError, suggest
from expunge.files import atomic_path
from expunge.predicates import query_ids
from expunge.requests import (
    ClassSelector,
    DeletionRequest,
    IdSelector,
    ImageSelector,
    LikeSample,
    Selector,
    SubjectSelector,
    TextSelector,
    WhereSelector,
)

TextScores = Callable[[str], dict[str, float]]
"""Text → cosine with every picture of a release, by sample id."""

MIN_TRAIN = 2
"""A contrastive loss needs two pairs."""


BLOCK = 4096
"""Rows on each side of one block of similarities: 64 MiB of float32."""


class Vectors(Protocol):
    """Embeddings of one release: `images` and `texts` are float32 [N, D] in the order of `ids`."""

    ids: Sequence[str]
    images: np.ndarray
    texts: np.ndarray


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
    """The forget set of a batch of requests, with their approved near-duplicates: one row for each sample and request,
    with the first reason that applies.

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
        for sample_id, match in _like(catalog, request.near_duplicates).items():
            if sample_id not in excluded:
                found.setdefault(sample_id, match)
        rows += [ForgetRow(sample_id, request.request_id, *match, release) for sample_id, match in found.items()]
    check_enough_left(catalog, excluded | {row.sample_id for row in rows})
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
            f"{suggest(unknown[0], scope.catalog.ids)}."
        )
    return {sample_id: Match("id") for sample_id in selector.ids}


def _match_class(scope: Scope, selector: ClassSelector) -> dict[str, Match]:
    found = scope.where_equal("class", selector.class_name)
    if not found:
        known = scope.catalog.metadata["class"].unique().to_pylist()
        raise ExpungeError(f"There is no class {selector.class_name!r}{suggest(selector.class_name, known)}.")
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


def _match_image(scope: Scope, selector: ImageSelector) -> dict[str, Match]:
    return _like(scope.catalog, selector.found)


def _like(catalog: Catalog, found: Iterable[LikeSample]) -> dict[str, Match]:
    """What was found when somebody looked, as far as the catalog still holds it."""
    return {one.sample_id: Match(one.reason, one.score) for one in found if one.sample_id in catalog.row_of}


def _match_where(scope: Scope, selector: WhereSelector) -> dict[str, Match]:
    return dict.fromkeys(query_ids(scope.catalog, selector.sql), Match(selector.summary))


_MATCHERS: dict[str, Callable[[Scope, Any], dict[str, Match]]] = {
    "id": _match_ids,
    "class": _match_class,
    "subject": _match_subject,
    "text": _match_text,
    "image": _match_image,
    "where": _match_where,
}


def check_enough_left(catalog: Catalog, forgotten: Set[str]) -> None:
    """Raises `ExpungeError` when forgetting `forgotten` would leave nothing to train on."""
    splits = catalog.metadata["split"].to_pylist()
    left = sum(
        split == "train" and sample_id not in forgotten for sample_id, split in zip(catalog.ids, splits, strict=True)
    )
    if left < MIN_TRAIN:
        raise ExpungeError(
            f"The requests would leave {left} of the catalog's training samples, and a model needs {MIN_TRAIN}. "
            "Reject or narrow one of them."
        )


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
