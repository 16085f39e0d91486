"""A folder that Hugging Face's `datasets` saved to disk, or Parquet files as the hub has them.

Both are Arrow files whose schema says which columns are pictures and what the numbers of a class label mean. They are
read as such, without `datasets`: a folder is never taken for a script, and nothing is downloaded.
"""

from __future__ import annotations

import io
import json
import posixpath
import re
from collections.abc import Iterator
from typing import Any, cast

import pyarrow as pa
import pyarrow.parquet as pq

from expunge.corpus.records import SPLITS, USUAL, Offer, SourceRow
from expunge.corpus.sample import Source
from expunge.corpus.settings import CatalogParams
from expunge.corpus.sources._own import files_of, own_source, required
from expunge.corpus.sources._rows import BATCH, numbered
from expunge.corpus.stores import StoredFile
from expunge.project.errors import ExpungeError

SUFFIXES = (".arrow", ".parquet")


def open_source(params: CatalogParams) -> Source[Offer]:
    """The rows of a data set of Hugging Face as a source."""
    required(params, "data")
    return own_source(params, offers(params))


def offers(params: CatalogParams) -> Iterator[Offer]:
    """The rows of the files at `catalog.data`, with the names of their class labels.

    Raises:
        ExpungeError: there are no such files, or one cannot be read.
    """
    files = files_of(params, "data")
    # `cache-*.arrow` are results of `map` and `filter` that were left in the folder.
    tables = [f for f in files if f.name.endswith(SUFFIXES) and not posixpath.basename(f.name).startswith("cache-")]
    if not tables:
        raise ExpungeError(f"catalog.data: no .arrow or .parquet file at {params.data!r}.")
    for file in tables:
        try:
            yield from _records(file)
        except (pa.ArrowException, OSError) as error:
            raise ExpungeError(
                f"{file.name} cannot be read ({type(error).__name__}): how many rows are lost is not known, so mend it "
                "or move it away."
            ) from None


def _records(file: StoredFile) -> Iterator[SourceRow]:
    split = _split(file.name)
    with file.open() as stream:
        if file.name.endswith(".parquet"):
            reader = pq.ParquetFile(stream)
            schema, batches = reader.schema_arrow, reader.iter_batches(BATCH)
        else:
            opened = pa.ipc.open_stream(pa.PythonFile(cast(io.IOBase, stream), mode="r"))
            schema, batches = opened.schema, iter(opened)
        labels = _labels(schema)
        finest = next((name for name in (*USUAL["class_"], *labels) if name in labels), None)
        captioned = bool(set(USUAL["caption"]) & set(schema.names))
        for place, fields in numbered(file.name, batches):
            cells = {"split": split} | {name: _spoken(value, labels.get(name)) for name, value in fields.items()}
            if finest and not captioned:
                cells["caption"] = cells[finest]
            yield SourceRow(place, cells, default_id=_row_id(file.name, place))


def _row_id(name: str, place: str) -> str:
    return f"{posixpath.splitext(name)[0]}:{place.rpartition(':')[2]}"


def _split(name: str) -> str | None:
    """The split in a file's path, such as `train/data-00000-of-00001.arrow` or `test-00000-of-00001.parquet`."""
    words = re.split(r"[/\-_.]", name)
    return next((word for word in words if word in SPLITS), None)


def _labels(schema: pa.Schema) -> dict[str, list[str]]:
    """Columns of class labels → the names of their numbers."""
    try:
        features = json.loads((schema.metadata or {})[b"huggingface"])["info"]["features"]
        return {
            name: [str(word) for word in feature["names"]]
            for name, feature in features.items()
            if isinstance(feature, dict) and feature.get("_type") == "ClassLabel"
        }
    except (KeyError, TypeError, ValueError):
        return {}


def _spoken(value: Any, names: list[str] | None) -> Any:
    if names is None or not isinstance(value, int):
        return value
    return names[value].replace("_", " ") if 0 <= value < len(names) else None
