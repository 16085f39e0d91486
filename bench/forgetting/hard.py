"""Forget sets that are hard to forget, after the base model of seed 0 → bench/forgetting/hard_sets.json.

Written once and committed, so that every seed and machine forgets the same pictures:
`python -m bench.forgetting.hard`.
"""

from __future__ import annotations

import numpy as np

from bench.forgetting.models import workplace
from bench.forgetting.run import Bench
from bench.forgetting.scenarios import HARD_SETS, SCENARIOS
from expunge.embeddings.gallery import match
from expunge.examination import hard_sets
from expunge.project.columns import strings
from expunge.project.files import write_json

COUNT = 50


def main() -> None:
    """Choose the sets among trained pictures without skin tone, as the random scenarios do."""
    bench = Bench(workplace(0), SCENARIOS["random"])
    catalog, gallery = bench.catalog, bench.original.gallery
    columns = {name: strings(catalog.metadata[name]) for name in ("split", "class", "caption")}
    splits = np.array(columns["split"])
    variants = np.array(catalog.metadata["variant"].to_pylist(), dtype=object)
    candidates = np.flatnonzero((splits == "train") & (variants == None))  # noqa: E711 – elementwise
    held_out = np.flatnonzero(splits == "calibration")
    memorisation = hard_sets.memorisation_by_similarity(gallery, columns["caption"], candidates, held_out)
    colours = hard_sets.dominant_colours(bench.pairs.pixels)
    chosen = {
        "worst_case": hard_sets.worst_case(gallery, match(gallery).loss, candidates, COUNT),
        "memorised": hard_sets.most_memorised(memorisation, candidates, COUNT),
        "entangled": hard_sets.entangled(gallery, candidates, COUNT),
        "shortcut": hard_sets.same_colour(colours, columns["class"], candidates, COUNT),
    }
    write_json(HARD_SETS, {name: [catalog.ids[row] for row in rows] for name, rows in chosen.items()})
    print(f"Wrote {HARD_SETS.name}: {COUNT} pictures each.")


if __name__ == "__main__":
    main()
