"""The data behind a release's figures. Ids, captions and pictures of forgotten samples are not part of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from sklearn.metrics import roc_curve
from torch import Tensor

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import BLOCK, TILE
from expunge.evaluation.measure import Measured
from expunge.evaluation.sets import Sets
from expunge.project.scratch import blocks

FIRST = 5
"""A retained picture counts as found by a caption where it is among this many first."""
SHOWN = 8
"""Retained pictures that are named for each request and model."""
MAX_POINTS = 200
"""Of one ROC curve."""


def similarities(measured: Mapping[str, Measured], sets: Sets) -> pa.Table:
    """Cosine of every pair by `model` and `set`, in the same order for each model: what the histograms show."""
    return pa.concat_tables(
        pa.table({"model": [name] * len(rows), "set": [group] * len(rows), "similarity": cosines[rows].numpy()})
        for name, seen in measured.items()
        for cosines in [seen.gallery.similarities]
        for group, rows in sets.groups.items()
    )


def nearest_retained(
    catalog: Catalog, measured: Mapping[str, Measured], requests: Mapping[str, np.ndarray], forgotten: frozenset[str]
) -> pa.Table:
    """What a search with forgotten captions finds among the pictures that stay, by model and request.

    It moves when either tower does. Columns: `model`, `request`, `place` from 1, `sample_id` of a retained sample, and
    `share` of the request's captions that find it among the first `FIRST`.
    """
    gone = torch.tensor(sorted(catalog.row_of[name] for name in forgotten), dtype=torch.int64)
    columns: dict[str, list[object]] = {"model": [], "request": [], "place": [], "sample_id": [], "share": []}
    for name, seen in measured.items():
        for request_id, rows in requests.items():
            hits = np.zeros(len(catalog), dtype=np.int64)
            for start in range(0, len(rows), BLOCK):
                captions = seen.gallery.texts[torch.from_numpy(rows[start : start + BLOCK])].float()
                first = _first(captions, seen.gallery.images, gone)
                hits += np.bincount(first.flatten().numpy(), minlength=len(hits))
            order = np.argsort(-hits, kind="stable")[:SHOWN]
            for place, row in enumerate(order[hits[order] > 0], 1):
                values = (name, request_id, place, catalog.ids[int(row)], float(hits[row] / len(rows)))
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    kinds = {"model": "string", "request": "string", "place": "int64", "sample_id": "string", "share": "float64"}
    return pa.table({key: pa.array(column, kinds[key]) for key, column in columns.items()})


def _first(queries: Tensor, targets: Tensor, gone: Tensor) -> Tensor:
    """Rows of the `FIRST` of `targets` [N, D] that are nearest to each query and not `gone`, int64 [Q, at most 5]."""
    best, rows = torch.empty(len(queries), 0), torch.empty(len(queries), 0, dtype=torch.int64)
    left = len(targets) - len(gone)
    for start, tile in blocks(targets, TILE):
        scores = queries @ tile.float().T
        scores[:, gone[(gone >= start) & (gone < start + TILE)] - start] = -torch.inf
        found = scores.topk(min(FIRST, scores.shape[1]), dim=1)
        best, rows = torch.cat([best, found.values], dim=1), torch.cat([rows, found.indices + start], dim=1)
        kept = best.topk(min(FIRST, best.shape[1]), dim=1)
        best, rows = kept.values, rows.gather(1, kept.indices)
    return rows[:, :left]


def roc(measured: Mapping[str, Measured], sets: Sets) -> pa.Table:
    """ROC curves of telling forgotten training pairs from pairs never seen, by `model` and `signal`.

    Columns `false_positives` and `true_positives` are shares in [0, 1]; the signals are `loss`, what the gate's
    membership attack goes by, and `similarity`. Empty where there are no pairs of one kind.
    """
    tables = [pa.table({"model": [""], "signal": [""], "false_positives": [0.0], "true_positives": [0.0]}).slice(1)]
    label = [1] * len(sets.members) + [0] * len(sets.never_seen)
    rows = np.concatenate([sets.members, sets.never_seen])
    for name, seen in measured.items() if 0 < sum(label) < len(label) else ():
        signals = {"loss": -seen.matches.loss.numpy(), "similarity": seen.gallery.similarities.numpy()}
        for signal, values in signals.items():
            false, true, _ = roc_curve(label, values[rows])
            chosen = np.unique(np.linspace(0, len(false) - 1, min(MAX_POINTS, len(false))).round().astype(int))
            columns = {"model": [name] * len(chosen), "signal": [signal] * len(chosen)}
            tables.append(pa.table(columns | {"false_positives": false[chosen], "true_positives": true[chosen]}))
    return pa.concat_tables(tables)
