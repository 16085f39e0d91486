"""The data behind a release's figures. Ids, captions and pictures of forgotten samples are not part of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
import torch
from sklearn.metrics import roc_curve

from expunge.corpus.catalog import Catalog
from expunge.embeddings.gallery import BLOCK
from expunge.evaluation.measure import Measured
from expunge.evaluation.sets import Sets

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
    kept = np.array([sample_id not in forgotten for sample_id in catalog.ids])
    rows_kept = torch.from_numpy(np.flatnonzero(kept))
    columns: dict[str, list[object]] = {"model": [], "request": [], "place": [], "sample_id": [], "share": []}
    for name, seen in measured.items():
        images = seen.gallery.images[rows_kept]
        for request_id, rows in requests.items():
            hits = np.zeros(len(rows_kept), dtype=np.int64)
            for start in range(0, len(rows), BLOCK):
                captions = seen.gallery.texts[torch.from_numpy(rows[start : start + BLOCK])]
                first = (captions @ images.T).topk(min(FIRST, len(rows_kept)), dim=1).indices
                hits += np.bincount(first.flatten().numpy(), minlength=len(hits))
            order = np.argsort(-hits, kind="stable")[:SHOWN]
            for place, row in enumerate(order[hits[order] > 0], 1):
                values = (name, request_id, place, catalog.ids[int(rows_kept[row])], float(hits[row] / len(rows)))
                for column, value in zip(columns.values(), values, strict=True):
                    column.append(value)
    kinds = {"model": "string", "request": "string", "place": "int64", "sample_id": "string", "share": "float64"}
    return pa.table({key: pa.array(column, kinds[key]) for key, column in columns.items()})


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
