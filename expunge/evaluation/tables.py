"""The data behind a release's figures. Ids and forgotten pictures are not part of it."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pyarrow as pa
from sklearn.decomposition import PCA

from expunge.corpus.catalog import Catalog
from expunge.evaluation.measure import Measured
from expunge.evaluation.sets import Sets, column


def similarities(measured: Mapping[str, Measured], sets: Sets) -> pa.Table:
    """Cosine of every pair by `model` and `set`: what the histograms show."""
    return pa.concat_tables(
        pa.table({"model": [name] * len(rows), "set": [group] * len(rows), "similarity": cosines[rows].numpy()})
        for name, seen in measured.items()
        for cosines in [seen.gallery.similarities]
        for group, rows in sets.groups.items()
    )


def embedding_map(catalog: Catalog, measured: Mapping[str, Measured], sets: Sets) -> pa.Table:
    """Image embeddings of guarded samples before and after, on the two main axes of the original ones."""
    rows = sets.guarded
    groups = ["neighbours"] * len(sets.groups["neighbours"]) + ["retain"] * len(sets.groups["retain"])
    axes = PCA(n_components=2, svd_solver="full").fit(measured["original"].gallery.images[rows].numpy())
    superclasses = column(catalog, "superclass")[rows].tolist()
    tables = []
    for name in ("original", "unlearned"):
        points = axes.transform(measured[name].gallery.images[rows].numpy()).astype(np.float32)
        columns = {"model": [name] * len(rows), "x": points[:, 0], "y": points[:, 1]}
        tables.append(pa.table(columns | {"superclass": superclasses, "set": groups}))
    return pa.concat_tables(tables)
