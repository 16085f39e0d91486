"""Step `select`: the release's requests → its forget set (with reasons) and its retain set."""

from __future__ import annotations

from expunge.corpus.catalog import Catalog
from expunge.embeddings.search import load_embeddings
from expunge.project.columns import strings
from expunge.project.paths import Paths
from expunge.releases.chain import load_release
from expunge.selection.forget import check_can_be_judged, forget_rows
from expunge.selection.neighbours import choose_retain
from expunge.selection.sets import write_forget, write_retain
from expunge.settings import Params
from expunge.steps import step_main


def select_sets(paths: Paths, params: Params, release: str) -> None:
    """Write the cumulative forget set and the retain set of `release`."""
    where = paths.release(release)
    description = load_release(paths, release)
    catalog = Catalog(paths.catalog)
    inherited, chosen = forget_rows(paths, description.requests, release, description.parent)
    check_can_be_judged(paths, [*inherited, *chosen])
    store = load_embeddings(paths, description.parent)
    split_of = dict(zip(catalog.ids, strings(catalog.metadata["split"]), strict=True))
    own = {row.sample_id for row in chosen}
    retained = choose_retain(
        store.ids,
        [split_of[sample_id] for sample_id in store.ids],
        store.images,
        store.texts,
        own,
        params.select.neighbours,
        params.select.random,
        params.seed,
    )
    made_from = {"catalog": catalog.digest}
    write_forget(where.forget, [*inherited, *chosen], made_from)
    write_retain(where.retain, retained, made_from)
    print(f"select: {len(own)} samples to forget, {len(inherited)} inherited, {len(retained)} guard what stays")


if __name__ == "__main__":
    step_main(select_sets)
