"""The same small corpus in every format that a source reads, written as the tools of each format write it."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.feather as feather
import pyarrow.parquet as pq
from PIL import Image

CLASSES = ("apple", "bird", "car", "drum")


@dataclass(frozen=True)
class Row:
    """One sample of the corpus."""

    number: int
    caption: Any
    picture: bytes

    @property
    def name(self) -> str:
        return f"p{self.number:03d}"

    @property
    def class_(self) -> str:
        return CLASSES[self.number % len(CLASSES)]

    @property
    def subject(self) -> str:
        return f"s-{self.number // 3:02d}"


def drawn(number: int, size: int = 32) -> Image.Image:
    """A picture with structure, another for every number."""
    noise = np.random.default_rng(number).integers(0, 256, (4, 4, 3), np.uint8)
    return Image.fromarray(noise).resize((size, size), Image.Resampling.BILINEAR)


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    stream = io.BytesIO()
    image.save(stream, kind, **options)
    return stream.getvalue()


def corpus(count: int = 48) -> list[Row]:
    """`count` samples; three share a subject each."""
    rows = (Row(number, "", encoded(drawn(number))) for number in range(count))
    return [replace(row, caption=f"{row.class_} number {row.number}") for row in rows]


def cut_off(row: Row) -> Row:
    """The same row with half a picture."""
    return replace(row, picture=row.picture[: len(row.picture) // 2])


def _pictures(folder: Path, rows: list[Row], by_class: bool = True) -> None:
    for row in rows:
        path = folder / row.class_ / f"{row.name}.png" if by_class else folder / f"{row.name}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        if not path.is_file() or path.read_bytes() != row.picture:
            path.write_bytes(row.picture)


def _records(rows: list[Row], **more: Callable[[Row], Any]) -> list[dict[str, Any]]:
    common = {"id": "name", "caption": "caption", "class": "class_", "subject": "subject"}
    return [{k: getattr(r, v) for k, v in common.items()} | {k: f(r) for k, f in more.items()} for r in rows]


def folder_csv(folder: Path, rows: list[Row]) -> dict[str, Any]:
    _pictures(folder / "pictures", rows)
    with open(folder / "captions.csv", "w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(["file_name", "caption", "subject"])
        writer.writerows([f"{row.class_}/{row.name}.png", row.caption, row.subject] for row in rows)
    return {"source": "folder", "data": str(folder / "pictures"), "captions": str(folder / "captions.csv")}


def folder_jsonl(folder: Path, rows: list[Row]) -> dict[str, Any]:
    """As Hugging Face's image folder: `metadata.jsonl` among the pictures."""
    _pictures(folder / "pictures", rows)
    lines = [{"file_name": f"{r.class_}/{r.name}.png", "text": r.caption, "subject": r.subject} for r in rows]
    (folder / "pictures" / "metadata.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return {"source": "folder", "data": str(folder / "pictures")}


def table_csv(folder: Path, rows: list[Row]) -> dict[str, Any]:
    _pictures(folder / "pictures", rows, by_class=False)
    with open(folder / "table.csv", "w", newline="", encoding="utf-8") as stream:
        records = _records(rows, path=lambda row: f"{row.name}.png")
        writer = csv.DictWriter(stream, records[0])
        writer.writeheader()
        writer.writerows(records)
    return {"source": "table", "data": str(folder / "table.csv"), "pictures": str(folder / "pictures")}


def table_jsonl(folder: Path, rows: list[Row]) -> dict[str, Any]:
    _pictures(folder / "pictures", rows, by_class=False)
    records = _records(rows, url=lambda row: f"{folder / 'pictures'}/{row.name}.png")
    (folder / "table.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records))
    return {"source": "table", "data": str(folder / "table.jsonl"), "pictures": str(folder / "pictures")}


def _arrow(rows: list[Row]) -> pa.Table:
    return pa.Table.from_pylist(_records(rows, image=lambda row: row.picture))


def table_parquet(folder: Path, rows: list[Row]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        pq.write_table(_arrow(part), folder / f"{number}.parquet")
    return {"source": "table", "data": str(folder / "*.parquet")}


def table_feather(folder: Path, rows: list[Row]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    feather.write_feather(_arrow(rows), folder / "pairs.feather")
    return {"source": "table", "data": str(folder / "pairs.feather")}


def table_duckdb(folder: Path, rows: list[Row]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "pairs.duckdb").unlink(missing_ok=True)
    with duckdb.connect(str(folder / "pairs.duckdb")) as connection:
        table = _arrow(rows)
        connection.register("rows", table)
        connection.execute("CREATE TABLE pairs AS SELECT * FROM rows")
        connection.execute("CREATE TABLE other AS SELECT 1 AS one")
    query = "SELECT id, caption, class, subject, image FROM pairs ORDER BY id"
    return {"source": "table", "data": str(folder / "pairs.duckdb"), "query": query}


def webdataset(folder: Path, rows: list[Row]) -> dict[str, Any]:
    from webdataset import TarWriter

    folder.mkdir(parents=True, exist_ok=True)
    half = len(rows) // 2
    for number, part in enumerate((rows[:half], rows[half:])):
        with TarWriter(str(folder / f"{number:05d}.tar"), mtime=0) as tar:
            for row in part:
                told = {"class": row.class_, "subject": row.subject}
                tar.write({"__key__": row.name, "png": row.picture, "txt": row.caption, "json": told})
    return {"source": "webdataset", "data": str(folder / "*.tar")}


def img2dataset(folder: Path, rows: list[Row]) -> dict[str, Any]:
    """Tar files whose JSON has img2dataset's columns, beside the Parquet file and the statistics that it writes."""
    from webdataset import TarWriter

    folder.mkdir(parents=True, exist_ok=True)
    with TarWriter(str(folder / "00000.tar"), mtime=0) as tar:
        for row in rows:
            told = {"caption": row.caption, "url": "https://example.org/x.jpg", "key": row.name, "status": "success"}
            told |= {"error_message": None, "width": 32, "height": 32, "exif": "{}", "class": row.class_}
            told |= {"subject": row.subject}
            tar.write({"__key__": row.name, "jpg": row.picture, "txt": row.caption, "json": told})
    pq.write_table(pa.table({"key": [row.name for row in rows]}), folder / "00000.parquet")
    (folder / "00000_stats.json").write_text("{}")
    return {"source": "webdataset", "data": str(folder)}


def flickr30k(folder: Path, rows: list[Row]) -> dict[str, Any]:
    _pictures(folder / "flickr30k-images", rows, by_class=False)
    images = [
        {
            "sentids": [2 * row.number, 2 * row.number + 1],
            "imgid": row.number,
            "sentences": [
                {"tokens": str(row.caption).split(), "raw": row.caption, "imgid": row.number, "sentid": 2 * row.number},
                {"tokens": ["same"], "raw": f"the same as {row.number}", "imgid": row.number},
            ],
            "split": ("train", "train", "val", "test")[row.number // 3 % 4],
            "filename": f"{row.name}.png",
        }
        for row in rows
    ]
    (folder / "dataset_flickr30k.json").write_text(json.dumps({"images": images, "dataset": "flickr30k"}))
    return {
        "source": "flickr30k",
        "data": str(folder / "flickr30k-images"),
        "captions": str(folder / "dataset_flickr30k.json"),
    }


def coco(folder: Path, rows: list[Row]) -> dict[str, Any]:
    (folder / "annotations").mkdir(parents=True, exist_ok=True)
    for part, chosen in (("train2017", rows[: -len(rows) // 4]), ("val2017", rows[-len(rows) // 4 :])):
        _pictures(folder / "images" / part, chosen, by_class=False)
        content = {
            "info": {},
            "licenses": [],
            "images": [{"id": r.number, "file_name": f"{r.name}.png", "width": 32, "height": 32} for r in chosen],
            "annotations": [{"image_id": r.number, "id": r.number, "caption": r.caption} for r in chosen],
        }
        (folder / "annotations" / f"captions_{part}.json").write_text(json.dumps(content))
    return {
        "source": "coco",
        "data": str(folder / "images"),
        "captions": str(folder / "annotations" / "captions_*.json"),
    }


def _planes(row: Row) -> bytes:
    try:
        image = Image.open(io.BytesIO(row.picture)).convert("RGB")
    except OSError:
        return b"\x07" * 100  # a file that ends within a picture
    return np.asarray(image).transpose(2, 0, 1).tobytes()


def cifar10(folder: Path, rows: list[Row]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n")
    parts = {"data_batch_1.bin": rows[: len(rows) // 2], "test_batch.bin": rows[len(rows) // 2 :]}
    for name, part in parts.items():
        (folder / name).write_bytes(b"".join(bytes([row.number % len(CLASSES)]) + _planes(row) for row in part))
    return {"source": "cifar10", "data": str(folder)}


def cifar100(folder: Path, rows: list[Row]) -> dict[str, Any]:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "fine_label_names.txt").write_text("\n".join(CLASSES) + "\n")
    (folder / "coarse_label_names.txt").write_text("living\nmade\n")
    for name, part in {"train.bin": rows[: len(rows) // 2], "test.bin": rows[len(rows) // 2 :]}.items():
        labels = [bytes([row.number % 4 // 2, row.number % 4]) for row in part]
        content = b"".join(label + _planes(row) for label, row in zip(labels, part, strict=True))
        (folder / name).write_bytes(content)
    return {"source": "cifar100", "data": str(folder)}


def _features(rows: list[Row]) -> pa.Table:
    """A table with the metadata that `datasets` writes: pictures as bytes and path, classes as numbers."""
    table = pa.table(
        {
            "image": [{"bytes": row.picture, "path": f"{row.name}.png"} for row in rows],
            "label": pa.array([row.number % len(CLASSES) for row in rows], pa.int64()),
            "text": [row.caption for row in rows],
            "user_id": [row.subject for row in rows],
            "id": [row.name for row in rows],
        }
    )
    features = {
        "image": {"_type": "Image"},
        "label": {"names": list(CLASSES), "_type": "ClassLabel"},
        **{name: {"dtype": "string", "_type": "Value"} for name in ("text", "user_id", "id")},
    }
    return table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})


def huggingface_disk(folder: Path, rows: list[Row]) -> dict[str, Any]:
    """What `DatasetDict.save_to_disk` leaves."""
    for split, part in {"train": rows[: len(rows) // 2], "test": rows[len(rows) // 2 :]}.items():
        (folder / split).mkdir(parents=True, exist_ok=True)
        table = _features(part)
        with pa.ipc.new_stream(str(folder / split / "data-00000-of-00001.arrow"), table.schema) as writer:
            writer.write_table(table)
        (folder / split / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (folder / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return {"source": "huggingface", "data": str(folder)}


def huggingface_parquet(folder: Path, rows: list[Row]) -> dict[str, Any]:
    (folder / "data").mkdir(parents=True, exist_ok=True)
    for split, part in {"train": rows[: len(rows) // 2], "test": rows[len(rows) // 2 :]}.items():
        pq.write_table(_features(part), folder / "data" / f"{split}-00000-of-00001.parquet")
    return {"source": "huggingface", "data": str(folder)}


def lance(folder: Path, rows: list[Row]) -> dict[str, Any]:
    from lance import write_dataset

    write_dataset(_arrow(rows), str(folder / "pairs.lance"), mode="overwrite")
    return {"source": "lance", "data": str(folder / "pairs.lance")}


WRITERS = (
    *(folder_csv, folder_jsonl, table_csv, table_jsonl, table_parquet, table_feather, table_duckdb, webdataset),
    *(img2dataset, flickr30k, coco, cifar10, cifar100, huggingface_disk, huggingface_parquet, lance),
)
CLASSLESS = {"flickr30k", "coco"}
CAPTIONLESS = {"cifar10", "cifar100"}
SUBJECTLESS = CLASSLESS | CAPTIONLESS
