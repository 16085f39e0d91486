"""Step `trained_on`: data/catalog and what a model from elsewhere was trained on → reports/base/trained_on.json.

A stage of its own, so that another language of predicates asks again and trains no model again.
"""

from __future__ import annotations

from pathlib import Path

from expunge.corpus.catalog import Catalog
from expunge.project.errors import ExpungeError
from expunge.project.files import write_json
from expunge.project.paths import Paths
from expunge.project.reading import read_plain
from expunge.selection.predicates import query_ids
from expunge.settings import Params
from expunge.steps import step_main

MAX_IDS = 1 << 30
"""Bytes of a list of ids."""


def trained_on(paths: Paths, params: Params, release: str) -> None:
    """Compare the splits with `train.external.trained_on`, and write that they agree; the release is always `base`."""
    external = params.train.external
    if external is None or external.trained_on is None:
        raise ExpungeError("params.yaml names no train.external.trained_on any more; run `expunge stages`.")
    catalog = Catalog(paths.catalog)
    _compare(catalog, external.trained_on, paths.root)
    write_json(paths.release(release).trained_on, {"catalog": catalog.digest, "trained_on": external.trained_on})
    print("trained_on: the catalog's splits are those of the training")


def _compare(catalog: Catalog, trained_on: str, root: Path) -> None:
    """Compare the catalog's splits with a file of ids or a predicate.

    Raises:
        ExpungeError: the split `train` holds what the model never saw, or a held-out split what it did see.
    """
    if (root / trained_on).is_file():
        said = set(read_plain(root / trained_on, MAX_IDS).decode("utf-8").split("\n")) - {""}
    elif trained_on.endswith((".txt", ".csv", ".ids")):
        raise ExpungeError(f"train.external.trained_on: there is no file {trained_on}.")
    else:
        said = set(query_ids(catalog, trained_on))
    inside = catalog.split_ids("train")
    for ids, what in (
        (inside - said, "samples of the split `train`, which the model was not trained on"),
        (said & set(catalog.ids) - inside, "held-out samples, which the model was trained on"),
    ):
        if ids:
            raise ExpungeError(
                f"The catalog has {len(ids)} {what}, for example {min(ids)}: every figure would compare with the wrong "
                "samples. Give the source a column with the split of the training (catalog.map.split), or mend "
                "train.external.trained_on."
            )


if __name__ == "__main__":
    step_main(trained_on)
