"""Step `index`: data/embeddings/R → data/index/R/{image,text}.faiss."""

from __future__ import annotations

from expunge.embeddings.index import build_index, exact_search, recall_of, write_index, write_origin
from expunge.embeddings.search import load_embeddings
from expunge.project.paths import Paths
from expunge.settings import Params
from expunge.steps import step_main


def index(paths: Paths, params: Params, release: str) -> None:
    """Build both indexes of a release from its embeddings."""
    where = paths.release(release)
    store = load_embeddings(paths, release)
    recall: dict[str, float] = {}
    for name, vectors in (("image", store.images), ("text", store.texts)):
        nearest = exact_search(store.ids, vectors)
        built = build_index(store.ids, vectors, params.index.factory, nearest)
        recall[f"{name}.faiss"] = round(recall_of(built, nearest), 4)
        write_index(built, where.index / f"{name}.faiss")
        del built  # two at a time would be the most memory that a release takes
    write_origin(where.index, store.model, recall)
    print(
        f"index: {len(store.ids)} vectors of {store.images.shape[1]} dimensions, {params.index.factory}, "
        f"recall {min(recall.values()):.2f}"
    )


if __name__ == "__main__":
    step_main(index)
