"""The search for forgotten content must find it in whatever form it lies, and must find nothing else."""

from __future__ import annotations

import base64
import gzip
import io
import json
import sqlite3
import subprocess
import zipfile
from contextlib import closing
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from expunge.corpus.catalog import Catalog, write_catalog
from expunge.corpus.quarantine import Rejected, read_intake, withhold, write_quarantine
from expunge.corpus.sample import Source
from expunge.project.errors import ExpungeError
from expunge.project.paths import Paths
from expunge.purge import places
from expunge.purge import scan as scanning
from expunge.purge.rows import remove_rows, retained_digest
from expunge.purge.scan import Searcher, scan
from expunge.purge.traces import Trace, coverage, gather, ids_anywhere, load, save
from expunge.settings import load_params
from project import ROOT
from samples import make_samples

FORGOTTEN = frozenset({"sample:0003", "sample:0004"})
WIDTH = 32


def noise(number: int) -> bytes:
    """A picture of 16 levels, so that PNG does not store the pixels as they are."""
    stream = io.BytesIO()
    levels = np.random.default_rng(number).integers(0, 16, (24, 24, 3), np.uint8)
    Image.fromarray(levels * 17).save(stream, "PNG")
    return stream.getvalue()


@pytest.fixture
def catalog(tmp_path: Path) -> Catalog:
    """24 pictures of noise, of which the eleventh is the same as the forgotten fifth."""
    pictures = [noise(4 if number == 10 else number) for number in range(24)]
    samples = (replace(sample, image=image) for sample, image in zip(make_samples(24), pictures, strict=True))
    return write_catalog(tmp_path / "catalog", Source("generated", "1", "CC0-1.0", "nobody", samples), 10)


@pytest.fixture
def vectors(tmp_path: Path, catalog: Catalog) -> np.ndarray:
    """Embeddings of the catalog, float16 [24, WIDTH], also written to `embeddings`."""
    values = np.random.default_rng(0).normal(size=(24, WIDTH)).astype(np.float16)
    column = pa.FixedSizeListArray.from_arrays(pa.array(values.reshape(-1), pa.float16()), WIDTH)
    (tmp_path / "embeddings").mkdir()
    table = pa.table({"sample_id": catalog.ids, "image_embedding": column})
    pq.write_table(table, tmp_path / "embeddings" / "part-00000.parquet", compression="none")
    return values


@pytest.fixture
def traces(tmp_path: Path, catalog: Catalog, vectors: np.ndarray) -> list[Trace]:
    save(gather(catalog, FORGOTTEN, [tmp_path / "embeddings"]), tmp_path / "traces.json")
    return load(tmp_path / "traces.json")


def parquet(**columns: object) -> bytes:
    stream = io.BytesIO()
    pq.write_table(pa.table(columns), stream, compression="zstd")
    return stream.getvalue()


def zipped(data: bytes) -> bytes:
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("inner", data)
    return stream.getvalue()


def database(text: str) -> bytes:
    """A database from which the text was deleted."""
    with closing(sqlite3.connect(":memory:")) as connection:
        connection.execute("PRAGMA secure_delete = OFF")
        connection.execute("CREATE TABLE kept (value TEXT)")
        connection.execute("INSERT INTO kept VALUES (?)", [text])
        connection.execute("DELETE FROM kept")
        connection.commit()
        return connection.serialize()


PICTURE = noise(3)
PIXELS = Image.open(io.BytesIO(PICTURE)).tobytes()
CAPTION = "drum number 3"
PLANTED = {
    "a file": (PICTURE, {"picture"}),
    "the end of a piece": (b"x" * 4000 + PICTURE, {"picture"}),
    "pixels": (b"\0" * 99 + PIXELS, {"pixels"}),
    "a page": (b'<img src="data:image/png;base64,' + base64.b64encode(PICTURE) + b'">', {"base64"}),
    "gzip": (gzip.compress(PICTURE), {"picture"}),
    "zstd": (pa.compress(CAPTION.encode(), "zstd", asbytes=True), {"caption"}),
    "a table": (parquet(image=[PICTURE], names=[[CAPTION]]), {"picture", "caption"}),
    "a table in zip in gzip": (gzip.compress(zipped(parquet(key=["sample:0003"]))), {"sample id"}),
    "a dictionary column": (parquet(key=pa.array(["sample:0003"] * 9).dictionary_encode()), {"sample id"}),
    "a database": (database(CAPTION), {"caption"}),
    "a list": (json.dumps(["sample:0003"]).encode(), {"sample id"}),
}


@pytest.mark.parametrize("form", PLANTED)
def test_forgotten_content_is_found_in_every_form_and_only_its_kind_is_named(form, tmp_path, traces, monkeypatch):
    monkeypatch.setattr(scanning, "PIECE", 1000)
    data, kinds = PLANTED[form]
    (tmp_path / "searched").mkdir()
    (tmp_path / "searched" / "file").write_bytes(data)
    result = scan([tmp_path / "searched"], traces)
    assert {(finding.kind, finding.samples) for finding in result.findings} == {(kind, 1) for kind in kinds}
    assert (result.files, result.bytes, result.unread) == (1, len(data), [])
    assert "drum" not in str(result.findings)


@pytest.mark.parametrize("kind", [np.float16, np.float32])
def test_a_vector_is_found_as_embeddings_and_as_indexes_keep_it(kind, tmp_path, traces, vectors):
    (tmp_path / "index").mkdir()
    (tmp_path / "index" / "old.faiss").write_bytes(b"IxFI" + vectors[3].astype(kind).tobytes())
    (tmp_path / "index" / "new.faiss").write_bytes(b"IxFI" + np.delete(vectors, [3, 4], 0).astype(kind).tobytes())
    found = [(Path(finding.path).name, finding.kind) for finding in scan([tmp_path / "index"], traces).findings]
    assert found == [("old.faiss", "vector")]


def test_nothing_is_found_in_what_was_retained_even_a_picture_that_equals_a_forgotten_one(tmp_path, catalog, traces):
    assert coverage(traces) == {"base64": 1, "caption": 2, "picture": 1, "pixels": 1, "sample id": 2, "vector": 2}
    before = scan([catalog.folder], traces)
    assert {finding.kind for finding in before.findings} == {"picture", "caption", "sample id"}
    remove_rows(catalog.folder, FORGOTTEN, None)
    assert scan([catalog.folder], traces).findings == []


def test_the_quarantine_names_no_forgotten_sample_after_a_purge_and_counts_what_it_counted(tmp_path, traces):
    path = tmp_path / "quarantine.parquet"
    rows = [
        Rejected("sample:0003", "duplicate_id", "an earlier row has the same id"),
        Rejected("shards/7.tar/sample:0004", "duplicate_id", "an earlier row has the same id"),
        Rejected(f"pictures/{CAPTION} again.png", "unreadable_picture", "OSError"),
        Rejected("shards/7.tar/sample:0009", "duplicate_id", "an earlier row has the same id"),
    ]
    before = write_quarantine(path, rows, 30, {"turned": 2})
    assert {finding.kind for finding in scan([path], traces).findings} == {"caption", "sample id"}
    names = Searcher(ids_anywhere(traces))
    assert withhold(path, names.betrays) == 3
    assert scan([path], traces).findings == []
    told = pq.read_table(path).to_pylist()
    assert [row["location"] for row in told] == ["withheld by a purge"] * 3 + [rows[3].location]
    assert read_intake(path) == before
    once = path.read_bytes()
    assert withhold(path, names.betrays) == 0
    assert path.read_bytes() == once


def test_a_short_name_inside_other_words_is_no_finding(tmp_path):
    trace = Trace("caption", b"building", True, 0)
    (tmp_path / "prose.md").write_text("The building of rebuilding.")
    assert scan([tmp_path], [trace]).findings == []
    (tmp_path / "names.csv").write_text("id,building\n")
    assert [finding.path for finding in scan([tmp_path], [trace]).findings] == [str((tmp_path / "names.csv").resolve())]


def test_a_file_that_cannot_be_opened_is_said_to_be_unread(tmp_path, traces):
    (tmp_path / "searched").mkdir()
    (tmp_path / "searched" / "broken.zip").write_bytes(b"PK\x03\x04 and then nothing")
    result = scan([tmp_path / "searched"], traces)
    assert [entry["reason"] for entry in result.unread] == ["BadZipFile"]


def test_rows_are_removed_once_and_what_was_made_from_the_catalog_still_fits_it(catalog):
    digest, retained = catalog.digest, retained_digest(catalog, FORGOTTEN)
    remove_rows(catalog.folder, FORGOTTEN, "version-1.dir")
    once = {path.name: path.read_bytes() for path in catalog.folder.iterdir()}
    remove_rows(catalog.folder, FORGOTTEN, "version-1.dir")
    assert {path.name: path.read_bytes() for path in catalog.folder.iterdir()} == once
    smaller = Catalog(catalog.folder)
    assert len(smaller) == 22
    assert smaller.digest == digest
    assert [shard.sha256 for shard in smaller.shards] == [shard.sha256 for shard in catalog.shards]
    assert retained_digest(smaller, set()) == retained


def test_a_kill_between_two_shards_leaves_what_the_next_attempt_completes(catalog, monkeypatch):
    def killed(*_):
        raise KeyboardInterrupt

    retained = retained_digest(catalog, FORGOTTEN)
    with monkeypatch.context() as patch:
        patch.setattr("expunge.purge.rows.write_json", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_rows(catalog.folder, FORGOTTEN, None)
    with pytest.raises(ExpungeError, match="truncated or changed"):
        Catalog(catalog.folder)
    remove_rows(catalog.folder, FORGOTTEN, None)
    assert retained_digest(Catalog(catalog.folder), set()) == retained


def test_words_of_tracked_code_are_no_finding_nor_is_what_python_compiles_from_it(tmp_path):
    (tmp_path / "expunge" / "__pycache__").mkdir(parents=True)
    source, stray = tmp_path / "expunge" / "clip.py", tmp_path / "expunge" / "stray.py"
    for path in (source, stray):
        path.write_text('"""Like a pineapple."""')
    for command in (["init", "--quiet"], ["add", "expunge/clip.py"]):
        subprocess.run(["git", *command], cwd=tmp_path, check=True)
    allowed = places.pseudonyms_allowed(Paths(tmp_path.resolve()), load_params(ROOT / "params.yaml"), [])
    compiled = source.parent.resolve() / "__pycache__"
    assert allowed(source.resolve(), "caption")
    assert allowed(compiled / "clip.cpython-311.pyc", "caption")
    assert not allowed(compiled / "stray.cpython-311.pyc", "caption")
    assert not allowed(compiled / "clip.cpython-311.pyc", "picture")
