"""What the search for near-duplicates finds, and what it mistakes → bench/results/near_duplicates.json.

`python -m bench.near_duplicates [PROJECT] [--pictures NAME=FOLDER [--tile PIXELS]]` draws pictures of the built catalog
with a seed, plants ten changed copies of each in a temporary catalog under captions of other samples, and looks for the
near-duplicates of each drawn picture with the base model. A natural sample that is flagged counts as false unless its
pixels are those of the drawn picture or of its mirror image: the corpus holds such twins under several names. The list
that keeps copies out of later catalogs is measured on the same copies.

With `--pictures` the natural samples are the pictures in a folder, those that are twice the size of a tile cut into
tiles, and the results go to near_duplicates_NAME.json: drawings of another hand, or photographs, that neither the
limits nor the model have met.
"""

from __future__ import annotations

import argparse
import os
import platform
import random
import re
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
from PIL import Image

from bench.planted import CHANGES, encoded
from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.pictures import SUFFIXES, as_rgb, decode_image
from expunge.corpus.sample import Caption, Sample, Source
from expunge.embeddings.search import picture_encoder
from expunge.near_duplicates import candidates
from expunge.near_duplicates import find as search
from expunge.near_duplicates.suppression import EQUAL_BANDS, Suppressed, record
from expunge.project.files import write_json
from expunge.project.paths import BASE, Paths
from expunge.selection.sets import ForgetRow, write_forget

SEED = 23
"""Another than the limits were chosen with."""
DRAWN = 20
LIMITS = (
    "NEAR_BITS",
    "NEAR_COSINE",
    "MOST",
    "MAX_DIFFERENCE",
    "MIN_COSINE",
    "OVERLAY_SHARE",
    "OVERLAY_COSINE",
    "OVERLAY_CROWD",
)
NEWCOMERS = 200
"""Natural samples that are shown to the list of what is kept out as if they were new."""
TONE = re.compile("-1f3f[b-f]")
"""Skin tones in the names of emoji files; a catalog declares them as variants of one concept."""
TWIN = 2.0
"""Mean difference of two pictures, 0 to 255, up to which they count as the same."""


@dataclass(frozen=True)
class Store:
    """Embeddings of the catalog with the planted copies."""

    ids: list[str]
    images: np.ndarray
    texts: np.ndarray


def main() -> None:
    """Measure and write the results."""
    options = _options()
    project, draw = Paths(options.project), random.Random(SEED)
    name, _, folder = (options.pictures or "").partition("=")
    if folder:
        samples = list(pictures_in(Path(folder), options.tile))
    else:
        tables = Catalog(project.catalog).tables()
        samples = [Sample.of_row(row) for table in tables for row in table.to_pylist()]
    drawn = draw.sample(samples, DRAWN)
    planted = {name: copy for sample in drawn for name, copy in _copies(sample, samples, draw)}
    with tempfile.TemporaryDirectory() as folder:
        paths = Paths(Path(folder))
        source = Source("planted", "1", "none", "none", [*samples, *planted.values()])
        mixed = write_catalog(paths.catalog, source, 512)
        start = time.perf_counter()
        found = _search(project, mixed, drawn)
        seconds = time.perf_counter() - start
        kept_out, strangers = _suppressed(paths, samples, drawn, planted)
    results = {
        "command": " ".join(["python -m bench.near_duplicates", *(["PROJECT --pictures", name] if name else [])]),
        "machine": {"system": platform.platform(), "cores": os.cpu_count(), "python": platform.python_version()},
        "seed": SEED,
        "drawn": DRAWN,
        "catalog": len(mixed),
        "limits": {name.lower(): getattr(candidates if hasattr(candidates, name) else search, name) for name in LIMITS},
        "search": _figures(found, drawn, planted, samples) | {"seconds": round(seconds, 1)},
        "suppression": {
            "equal_bands": EQUAL_BANDS,
            "recall": round(len(kept_out) / len(planted), 3),
            "by_change": _by_change(kept_out),
            "newcomers": NEWCOMERS,
            "newcomers_kept_out_by_near_duplicate_rule": strangers,
        },
    }
    target = Path(f"bench/results/near_duplicates{f'_{name}' if name else ''}.json")
    write_json(target, results)
    print(f"Wrote {target}.")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("project", type=Path, nargs="?", default=Path(), help="whose base model embeds the pictures")
    parser.add_argument("--pictures", metavar="NAME=FOLDER")
    parser.add_argument("--tile", type=int, default=0, metavar="PIXELS")
    return parser.parse_args()


def pictures_in(folder: Path, tile: int) -> Iterator[Sample]:
    """The pictures of a folder as samples; with a `tile`, its squares of so many pixels where there are several."""
    for path in sorted(path for path in folder.rglob("*") if path.suffix in SUFFIXES):
        image = as_rgb(Image.open(path))
        for number, square in enumerate(_tiles(image, tile)):
            tones, name = "".join(TONE.findall(path.stem)) or None, f"{path.stem}/{number}"
            concept, said = f"{TONE.sub('', path.stem)}/{number}", (Caption("en", name),)
            yield Sample(name, "picture", "picture", None, concept, tones, "train", said, encoded(square))


def _tiles(image: Image.Image, size: int) -> Iterator[Image.Image]:
    if not size or min(image.size) < 2 * size:
        yield image
        return
    for top in range(0, image.height - size + 1, size):
        for left in range(0, image.width - size + 1, size):
            yield image.crop((left, top, left + size, top + size))


def _copies(sample: Sample, samples: list[Sample], draw: random.Random) -> Iterator[tuple[str, Sample]]:
    picture = decode_image(sample.image, sample.sample_id)
    for change in CHANGES:
        name = f"{change.__name__}:{sample.sample_id}"
        captions = draw.choice(samples).captions
        image = encoded(change(picture, draw))
        yield name, replace(sample, sample_id=name, concept=name, captions=captions, image=image)


def _search(project: Paths, mixed: Catalog, drawn: list[Sample]) -> list[search.NearDuplicate]:
    encode = picture_encoder(project, BASE)
    images = [
        encode([decode_image(cast(bytes, data), "a sample") for data in table["image"].to_pylist()])
        for table in mixed.tables(["image"])
    ]
    vectors = Store(mixed.ids, np.concatenate(images), np.empty(0))
    selected = {sample.sample_id for sample in drawn}
    return search.near_duplicates(mixed, selected, set(), vectors, encode, decode_image)


def _figures(
    found: list[search.NearDuplicate], drawn: list[Sample], planted: dict[str, Sample], samples: list[Sample]
) -> dict:
    by_id = {sample.sample_id: sample for sample in samples}
    hits = {one.sample_id for one in found if one.sample_id in planted}
    natural = [one for one in found if one.sample_id not in planted]
    false = [one for one in natural if not _twins(by_id[one.sample_id], by_id[one.resembles])]
    per_drawn = Counter(one.resembles for one in false)
    complete = Counter(name.partition(":")[2] for name in hits)
    return {
        "recall": round(len(hits) / len(planted), 3),
        "by_change": _by_change(hits),
        "pictures_with_nine_of_ten_found": sum(complete[sample.sample_id] >= 9 for sample in drawn),
        "precision": round(len(hits) / max(1, len(hits) + len(false)), 3),
        "twins": len(natural) - len(false),
        "false_positives_per_request": round(len(false) / DRAWN, 2),
        "most_false_positives_of_one_request": max(per_drawn.values(), default=0),
        "false_positive_rate": round(len(false) / DRAWN / len(samples), 6),
    }


def _by_change(names: set[str]) -> dict[str, float]:
    counts = Counter(name.partition(":")[0] for name in names)
    return {change.__name__: round(counts[change.__name__] / DRAWN, 2) for change in CHANGES}


def _twins(one: Sample, other: Sample) -> bool:
    left, right = (_pixels(decode_image(sample.image, sample.sample_id)) for sample in (one, other))
    return min(np.abs(left - right).mean(), np.abs(left[:, ::-1] - right).mean()) <= TWIN


def _pixels(image: Image.Image) -> np.ndarray:
    return np.asarray(image.resize((64, 64), Image.Resampling.BICUBIC), np.float32)


def _suppressed(
    paths: Paths, samples: list[Sample], drawn: list[Sample], planted: dict[str, Sample]
) -> tuple[set[str], int]:
    """The copies that the list would keep out, and how many newcomers it would by mistake."""
    write_catalog(paths.catalog, Source("drawn", "1", "none", "none", drawn), 512)
    rows = [ForgetRow(sample.sample_id, "req-0001", "id", None, "r001") for sample in drawn]
    write_forget(paths.release("r001").forget, rows)
    record(paths, "r001")
    suppressed, names = Suppressed.load(paths), {sample.sample_id for sample in drawn}
    others = [sample for sample in samples if sample.sample_id not in names]
    newcomers = random.Random(SEED).sample(others, NEWCOMERS)
    kept_out = {name for name, copy in planted.items() if suppressed.matches(copy)}
    return kept_out, sum(suppressed.evidence(sample) == "near-duplicate" for sample in newcomers)


if __name__ == "__main__":
    main()
