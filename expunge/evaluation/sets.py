"""The rows of the catalog that the figures are about: one place for the pipeline, the audit and the benchmark."""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

import numpy as np

from expunge.corpus.catalog import Catalog
from expunge.project.errors import ExpungeError
from expunge.selection.sets import RetainRow

MOST = 5000
"""Pairs of one set that figures are about, where it grows with the catalog: a recall of so many has a standard error of
0.007 at most, and ranking them costs what the catalog costs, not its square."""


@dataclass(frozen=True)
class Sets:
    """Row numbers of the catalog, int64 arrays.

    Attributes:
        groups: `forget`, `neighbours`, `retain`, `test` (and others) → rows to report on.
        members: rows of the forget set that were trained on.
        never_seen: rows that no model was trained on.
    """

    groups: dict[str, np.ndarray]
    members: np.ndarray
    never_seen: np.ndarray

    @property
    def asked(self) -> np.ndarray:
        """Every row that a figure is about, sorted."""
        return np.unique(np.concatenate([*self.groups.values(), self.members, self.never_seen])).astype(np.int64)

    @property
    def guarded(self) -> np.ndarray:
        """Rows that the method was told to keep: neighbours first, then the random part."""
        return np.concatenate([self.groups["neighbours"], self.groups["retain"]])


def base_sets(catalog: Catalog) -> Sets:
    """What the base model is measured on: its own training pairs and those held out."""
    split = column(catalog, "split")
    varied = np.array([name is not None for name in catalog.metadata["variant"].to_pylist()])
    unseen = unseen_concepts(catalog)
    groups = {
        "train_plain": np.flatnonzero((split == "train") & ~varied),
        "train_variants": np.flatnonzero((split == "train") & varied),
        "calibration": np.flatnonzero(split == "calibration"),
        "test_concepts": np.flatnonzero((split == "test") & unseen),
        "test_variants": np.flatnonzero((split == "test") & ~unseen),
        "test": np.flatnonzero(split == "test"),
    }
    members, never_seen = np.flatnonzero(split == "train"), np.flatnonzero((split == "test") & unseen)
    return Sets({name: _some(rows) for name, rows in groups.items()}, _some(members), _some(never_seen))


def release_sets(catalog: Catalog, own: Set[str], forgotten: Set[str], retained: Sequence[RetainRow]) -> Sets:
    """What the models of a release are measured on.

    Args:
        own: sample ids that this release forgets.
        forgotten: these and those that earlier releases have forgotten.
        retained: the release's retain set.

    Raises:
        ExpungeError: the release forgets nothing, so there is nothing to measure.
    """
    if not own:
        raise ExpungeError("This release forgets nothing; there is nothing to evaluate.")
    split = column(catalog, "split")
    kept = np.array([sample_id not in forgotten for sample_id in catalog.ids])
    forget = rows_of(catalog, own)
    groups = {
        "forget": forget,
        "neighbours": rows_of(catalog, (row.sample_id for row in retained if row.role == "neighbours")),
        "retain": rows_of(catalog, (row.sample_id for row in retained if row.role == "random")),
        "test": _some(np.flatnonzero((split == "test") & kept)),
    }
    return Sets(
        groups,
        members=forget[split[forget] == "train"],
        never_seen=_some(np.flatnonzero((split == "test") & kept & unseen_concepts(catalog))),
    )


def _some(rows: np.ndarray) -> np.ndarray:
    """At most `MOST` of `rows`, evenly spread."""
    return rows[np.unique(np.linspace(0, len(rows) - 1, min(len(rows), MOST)).astype(np.int64))]


def column(catalog: Catalog, name: str) -> np.ndarray:
    """One column of the catalog's metadata, object [N]."""
    return np.array(catalog.metadata[name].to_pylist(), dtype=object)


def rows_of(catalog: Catalog, ids: Iterable[str]) -> np.ndarray:
    """Sorted row numbers of samples, int64."""
    return np.array(sorted(catalog.row_of[sample_id] for sample_id in ids), dtype=np.int64)


def unseen_concepts(catalog: Catalog) -> np.ndarray:
    """Whether no sample of a row's concept is trained on, bool [N]."""
    concept, split = column(catalog, "concept"), column(catalog, "split")
    trained = set(concept[split == "train"])
    return np.array([name not in trained for name in concept])
