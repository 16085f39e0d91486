"""Selectors → forget set.

Pure functions over the catalog's metadata and plain arrays. Of the forgotten content only ids, scores and the rule
that caught a sample are written down. Same catalog, requests, embeddings and seed give the same files, byte by byte.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Set
from dataclasses import dataclass
from functools import cached_property
from typing import Any, NamedTuple

from expunge.corpus.catalog import Catalog
from expunge.project.columns import strings
from expunge.project.errors import ExpungeError, suggest
from expunge.requests.request import (
    ClassSelector,
    DeletionRequest,
    HashedSubjectSelector,
    IdSelector,
    ImageSelector,
    LikeSample,
    Selector,
    SubjectSelector,
    TextSelector,
    WhereSelector,
)
from expunge.selection.predicates import query_ids
from expunge.selection.sets import ForgetRow, forget_order

TextScores = Callable[[str], dict[str, float]]
"""Text → cosine with every picture of a release, by sample id."""

SubjectDigest = Callable[[str], str]
"""Subject id → its keyed digest."""

MIN_TRAIN = 2
"""A contrastive loss needs two pairs."""


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
    subject_digest: SubjectDigest | None = None

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
    subject_digest: SubjectDigest | None = None,
) -> list[ForgetRow]:
    """The forget set of a batch of requests, with their approved near-duplicates: one row for each sample and request,
    with the first reason that applies.

    Args:
        excluded: samples that earlier releases have forgotten; they are never selected again.
        text_scores: needed for text selectors only.
        subject_digest: needed for selectors by a subject's digest only.

    Raises:
        ExpungeError: a request selects nothing or names something unknown, or the batch leaves fewer than two
            samples to train on. The message starts with the request's id.
    """
    rows = []
    for request in requests:
        try:
            found = matches(catalog, request.selectors, excluded, text_scores, subject_digest)
        except ExpungeError as error:
            raise ExpungeError(f"{request.request_id}: {error}") from None
        for sample_id, match in _like(catalog, request.near_duplicates).items():
            if sample_id not in excluded:
                found.setdefault(sample_id, match)
        rows += [ForgetRow(sample_id, request.request_id, *match, release) for sample_id, match in found.items()]
    check_enough_left(catalog, excluded | {row.sample_id for row in rows})
    return sorted(rows, key=forget_order)


def matches(
    catalog: Catalog,
    selectors: Iterable[Selector],
    excluded: Set[str] = frozenset(),
    text_scores: TextScores | None = None,
    subject_digest: SubjectDigest | None = None,
) -> dict[str, Match]:
    """Sample id → the first reason why one of `selectors` catches it.

    Raises:
        ExpungeError: nothing is caught, or a selector names something unknown.
    """
    scope = Scope(catalog, excluded, text_scores, subject_digest)
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
        known = strings(scope.catalog.metadata["class"].unique())
        raise ExpungeError(f"There is no class {selector.class_name!r}{suggest(selector.class_name, known)}.")
    return dict.fromkeys(found, Match(selector.summary))


def _match_subject(scope: Scope, selector: SubjectSelector) -> dict[str, Match]:
    found = scope.where_equal("subject_id", selector.subject_id)
    if not found:
        # Other subjects are not suggested: a slip of the finger must not delete another person.
        raise ExpungeError(f"No sample has the subject_id {selector.subject_id!r}.")
    return dict.fromkeys(found, Match(selector.summary))


def _match_hashed_subject(scope: Scope, selector: HashedSubjectSelector) -> dict[str, Match]:
    if scope.subject_digest is None:
        raise ExpungeError("A selector by a subject's digest needs the project's key, which is not at hand here.")
    column = scope.catalog.metadata["subject_id"]
    wanted = set(selector.digests)
    named = {one for one in column.unique().to_pylist() if one is not None and scope.subject_digest(one) in wanted}
    cells = zip(scope.catalog.ids, column.to_pylist(), strict=True)
    return {sample_id: Match(selector.summary) for sample_id, cell in cells if cell in named}


def _match_text(scope: Scope, selector: TextSelector) -> dict[str, Match]:
    if scope.text_scores is None:
        raise ExpungeError("A text selector needs the embeddings of the live release; run `dvc repro` first.")
    scores = scope.text_scores(selector.text)
    best = sorted((-scores[sample_id], sample_id) for sample_id in scope.remaining if sample_id in scores)
    if selector.min_score is not None:
        return {
            sample_id: Match(f"text ~ score {-negative:.2f} >= {selector.min_score:g}", -negative)
            for negative, sample_id in best
            if -negative >= selector.min_score
        }
    return {
        sample_id: Match(f"text ~ score {-negative:.2f}, rank {rank} of {selector.top}", -negative)
        for rank, (negative, sample_id) in enumerate(best[: selector.top], start=1)
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
    "hashed-subject": _match_hashed_subject,
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
