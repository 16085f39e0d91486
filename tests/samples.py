"""Small catalogs of generated samples, for every test that needs one."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from pathlib import Path

from PIL import Image

from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.sample import Caption, Sample, Source, Split

CLASSES = ("apple", "bird", "car", "drum")
VARIANTS = (None, "light", "dark")


def make_samples(
    n: int,
    *,
    classes: Sequence[str] = CLASSES,
    splits: Sequence[Split] = ("train", "train", "train", "test"),
    subjects: Sequence[str | None] = (None,),
    size: int = 16,
) -> Iterator[Sample]:
    """`n` distinct samples `sample:0000`, …

    Classes and subjects take turns; every three samples are the variants of one concept, and the splits take turns
    concept by concept. Each picture has a colour of its own.
    """
    for number in range(n):
        class_name = classes[number % len(classes)]
        concept = number // len(VARIANTS)
        variant = VARIANTS[number % len(VARIANTS)]
        text = f"{class_name} number {number}"
        yield Sample(
            sample_id=f"sample:{number:04d}",
            class_=class_name,
            superclass="things",
            subject_id=subjects[number % len(subjects)],
            concept=f"concept:{concept:04d}",
            variant=variant,
            split=splits[concept % len(splits)],
            captions=(Caption("en", text), Caption("de", f"{class_name} Nummer {number}")),
            image=png(number, size),
        )


def png(number: int, size: int = 16) -> bytes:
    """A real PNG of one colour, another for every number below 2^24."""
    colour = tuple((number * 2654435761 >> shift) % 256 for shift in (0, 8, 16))
    stream = io.BytesIO()
    Image.new("RGB", (size, size), colour).save(stream, "PNG")
    return stream.getvalue()


def make_catalog(folder: Path, n: int = 24, rows_per_shard: int = 10, **options: object) -> Catalog:
    """A catalog of `n` generated samples in `folder`; `options` go to `make_samples`."""
    source = Source("generated", "1", "CC0-1.0", "nobody", make_samples(n, **options))
    return write_catalog(folder, source, rows_per_shard)
