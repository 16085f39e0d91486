"""CIFAR's binary files: one byte for each label, then 32 x 32 pixels, first all red, then all green, then all blue.

(Krizhevsky, Learning Multiple Layers of Features from Tiny Images, 2009.) The version for Python is pickled and is not
read. Parquet, as Hugging Face has it, is.
"""

from __future__ import annotations

import io
import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from PIL import Image

from expunge.corpus.quarantine import Rejected
from expunge.corpus.records import Offer, SourceRow
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources import huggingface
from expunge.corpus.sources._own import files_of
from expunge.corpus.stores import StoredFile
from expunge.project.errors import ExpungeError

SIDE = 32
PIXELS = 3 * SIDE * SIDE


@dataclass(frozen=True)
class CifarLayout:
    """How one of the two is laid out.

    Attributes:
        labels: name of each label → the file with its names; the last one is the class.
        test: how the file of the test split begins.
    """

    name: str
    labels: dict[str, str]
    train: str
    test: str


def cifar_offers(params: CatalogParams, layout: CifarLayout) -> Iterator[Offer]:
    """The pictures in the files at `catalog.data`.

    Raises:
        ExpungeError: there are neither binary nor Parquet files.
    """
    files = files_of(params, "data")
    binary = [file for file in files if file.name.endswith(".bin")]
    if not binary and any(file.name.endswith(".parquet") for file in files):
        yield from huggingface.offers(params)
        return
    if not binary:
        raise ExpungeError(
            f"catalog.data: no .bin or .parquet file at {params.data!r}. Unpack the binary version of {layout.name}; "
            "the version for Python is pickled, and nothing is unpickled here."
        )
    names = [_names(files, table) for table in layout.labels.values()]
    for file in binary:
        stem = posixpath.basename(file.name)
        split = "test" if stem.startswith(layout.test) else "train" if stem.startswith(layout.train) else None
        if split:
            yield from _images(file, layout, names, split)


def _names(files: Sequence[StoredFile], table: str) -> list[str]:
    found = next((file for file in files if posixpath.basename(file.name) == table), None)
    if found is None:
        raise ExpungeError(f"catalog.data: {table}, which names the classes, is missing beside the binary files.")
    return found.read().decode("utf-8", "replace").split()


def _images(file: StoredFile, layout: CifarLayout, names: list[list[str]], split: str) -> Iterator[Offer]:
    size = len(names) + PIXELS
    with file.open() as stream:
        number = 0
        while row := stream.read(size):
            number += 1
            place = f"{file.name}:{number}"
            if len(row) < size:
                yield Rejected(place, "unreadable_picture", "the file is cut off")
                return
            try:
                labels = [known[value].replace("_", " ") for known, value in zip(names, row, strict=False)]
            except IndexError:
                yield Rejected(place, "bad_row", "a label without a name")
                continue
            fields = dict(zip(layout.labels, labels, strict=True)) | {"split": split, "caption": labels[-1]}
            stem = posixpath.splitext(posixpath.basename(file.name))[0]
            yield SourceRow(place, fields, _png(row[len(names) :]), f"{layout.name}:{stem}:{number - 1:05d}")


def _png(planes: bytes) -> bytes:
    stream = io.BytesIO()
    pixels = np.frombuffer(planes, np.uint8).reshape(3, SIDE, SIDE).transpose(1, 2, 0)
    Image.fromarray(np.ascontiguousarray(pixels)).save(stream, "PNG")
    return stream.getvalue()
