"""Step `embed`: data/catalog without what release R forgets, under models/R → data/embeddings/R."""

from __future__ import annotations

from functools import partial

import torch

from expunge.corpus.catalog import Catalog
from expunge.embeddings.store import embed_catalog, origin
from expunge.models import clip
from expunge.models.files import preprocess_digest
from expunge.project.costs import measured
from expunge.project.files import write_json
from expunge.project.paths import BASE, Paths
from expunge.project.progress import progress
from expunge.releases.chain import load_release
from expunge.selection.sets import read_forget
from expunge.settings import Params
from expunge.steps import step_main


def embed(paths: Paths, params: Params, release: str) -> None:
    """Encode the retained catalog with the release's model.

    What fits already is kept, and what the parent's store says of a tower that did not change is taken over.
    """
    where = paths.release(release)
    catalog = Catalog(paths.catalog)
    rows = [] if release == BASE else read_forget(where.forget, {"catalog": catalog.digest})
    forgotten = {row.sample_id for row in rows}
    device = clip.configure(params.compute)
    model = clip.load(where.model, device)
    made_from = origin(catalog, model, clip.model_digest(where.model), preprocess_digest(where.model), forgotten)
    parent = None if release == BASE else paths.release(load_release(paths, release).parent).embeddings
    with progress(f"embed {release}") as report, measured() as cost:
        done = embed_catalog(
            where.embeddings,
            catalog,
            model,
            made_from,
            forgotten,
            params.embed.batch_size,
            report,
            parent,
            partial(clip.load_again, where.model, params.compute, torch.get_num_threads()),
        )
    write_json(
        where.embedding_cost,
        {
            "seconds": cost.seconds,
            "peak_memory_mb": cost.peak_memory_mb,
            "images": done.images,
            "texts": done.texts,
            "kept": done.kept,
            "phases": {name: round(seconds, 3) for name, seconds in done.seconds.items()},
        },
    )
    parts = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in done.seconds.items())
    print(
        f"embed: {done.images} pictures and {done.texts} captions encoded, {done.kept} pairs kept, "
        f"in {cost.seconds:.1f} s" + (f" ({parts})" if parts else "")
    )


if __name__ == "__main__":
    step_main(embed)
