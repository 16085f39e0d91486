"""What a request would catch, and what it would not, before anyone approves it."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Mapping, Sequence, Set
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.project.columns import strings
from expunge.requests.request import DeletionRequest
from expunge.selection.match import SubjectDigest, TextScores, matches
from expunge.selection.neighbours import Vectors, nearest

if TYPE_CHECKING:
    from expunge.near_duplicates.find import NearDuplicate

MISSING = "not available before `dvc repro embed`"


@dataclass(frozen=True)
class Sighting:
    """An unselected sample that deserves a look, and the selected one that it resembles; `reason` is the evidence."""

    sample_id: str
    class_name: str
    resembles: str
    score: float | None = None
    reason: str | None = None


@dataclass(frozen=True)
class RelatedSamples:
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
    neighbours: RelatedSamples
    near_duplicates: RelatedSamples
    captions: RelatedSamples
    concepts: RelatedSamples

    def as_dict(self) -> dict[str, Any]:
        """All of it as JSON-serialisable values."""
        return asdict(self)

    @property
    def expansion(self) -> list[dict[str, Any]] | None:
        """The near-duplicates, for the reviewer to approve; None where nobody could look for them."""
        if self.near_duplicates.total is None:
            return None
        return [
            {"sample_id": one.sample_id, "reason": one.reason, "score": one.score} for one in self.near_duplicates.shown
        ]

    def counts(self) -> dict[str, Any]:
        """Numbers alone."""
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
    duplicates: Sequence[NearDuplicate] | None = None,
    shown: int = 10,
    subject_digest: SubjectDigest | None = None,
) -> Preview:
    """Show what `request` would do, before anybody approves it.

    Args:
        embeddings: of the live release; without them the parts that need them say so.
        duplicates: what `near_duplicates.search` found for this request; all of them are listed.
        shown: how many samples each other finding lists.

    Raises:
        ExpungeError: as `select` does, except that a request may select everything.
    """
    selected = set(matches(catalog, request.selectors, excluded, text_scores, subject_digest))
    rows = [catalog.row_of[sample_id] for sample_id in selected]
    others = [row for row, name in enumerate(catalog.ids) if name not in selected and name not in excluded]
    return Preview(
        request_id=request.request_id,
        samples=len(selected),
        by_class=_tally(catalog, "class", rows),
        by_split=_tally(catalog, "split", rows),
        neighbours=_neighbours(catalog, embeddings, selected, others, shown),
        near_duplicates=_near_duplicates(catalog, duplicates),
        captions=_same_words(catalog, rows, others, shown),
        concepts=_same_concept(catalog, rows, others, shown),
    )


def _tally(catalog: Catalog, column: str, rows: Sequence[int]) -> dict[str, int]:
    """Value → count, the most frequent first."""
    counts = Counter(strings(catalog.metadata[column].take(rows)))
    return dict(sorted(counts.items(), key=lambda item: (-item[1], item[0])))


def _neighbours(
    catalog: Catalog, embeddings: Vectors | None, selected: Set[str], others: Sequence[int], shown: int
) -> RelatedSamples:
    """The nearest retained training samples."""
    rule = "nearest training samples that stay, by the mean of image and caption cosine"
    if embeddings is None:
        return RelatedSamples(f"{rule}: {MISSING}", None, ())
    place = {sample_id: row for row, sample_id in enumerate(embeddings.ids)}
    splits = catalog.metadata["split"].to_pylist()
    targets = np.array(sorted(place[name] for name in selected if name in place), dtype=np.int64)
    train = [catalog.ids[row] for row in others if splits[row] == "train" and catalog.ids[row] in place]
    rows = np.array([place[name] for name in train], dtype=np.int64)
    scores, which = nearest([embeddings.images, embeddings.texts], rows, targets)
    hits = [
        (embeddings.ids[row], embeddings.ids[target], float(score))
        for row, target, score in zip(rows, which, scores, strict=True)
        if score >= -1
    ]
    return _finding(catalog, rule, sorted(hits, key=lambda hit: (-hit[2], hit[0]))[:shown], shown)


def _near_duplicates(catalog: Catalog, duplicates: Sequence[NearDuplicate] | None) -> RelatedSamples:
    rule = "copies by perceptual hash, embedding and comparison of the aligned pictures"
    if duplicates is None:
        return RelatedSamples(f"{rule}: {MISSING}", None, ())
    hits = [(one.sample_id, one.resembles, one.cosine, one.reason) for one in duplicates]
    return _finding(catalog, rule, hits, len(hits))


def _finding(catalog: Catalog, rule: str, hits: Sequence[tuple], shown: int) -> RelatedSamples:
    """`hits` are (sample id, what it resembles[, score[, reason]]), the most telling first."""
    classes = catalog.metadata["class"]
    seen = tuple(Sighting(hit[0], classes[catalog.row_of[hit[0]]].as_py(), *hit[1:]) for hit in hits[:shown])
    return RelatedSamples(rule, len(hits), seen)


def _same_concept(catalog: Catalog, rows: Sequence[int], others: Sequence[int], shown: int) -> RelatedSamples:
    concepts = catalog.metadata["concept"].to_pylist()
    owner = {concepts[row]: catalog.ids[row] for row in sorted(rows, reverse=True)}
    hits = [(catalog.ids[row], owner[concepts[row]]) for row in others if concepts[row] in owner]
    return _finding(catalog, "same concept as a selected sample, such as another skin tone", hits, shown)


def _same_words(catalog: Catalog, rows: Sequence[int], others: Sequence[int], shown: int) -> RelatedSamples:
    captions = cast(list[list[dict[str, str]]], catalog.metadata["captions"].to_pylist())
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
