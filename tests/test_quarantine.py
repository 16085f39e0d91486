"""Hostile and odd rows: what can be mended is, the rest goes into quarantine, and too much of it stops the build."""

from __future__ import annotations

import io
import json
import struct
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from expunge.corpus.pictures import normalised
from expunge.corpus.quarantine import Intake, Unusable, read_intake
from expunge.corpus.sample import Caption, Sample, Source
from expunge.project.errors import ExpungeError
from formats import corpus, cut_off, drawn, encoded, folder_csv, webdataset
from test_sources import build, params_of, quarantined, rows_of


def pixel(data: bytes, at: tuple[int, int] = (0, 0)) -> tuple[int, ...]:
    image = Image.open(io.BytesIO(data))
    assert image.mode == "RGB"
    return tuple(image.getpixel(at))


def half_clear(mode: str) -> Image.Image:
    """Clear on the left, red on the right."""
    image = Image.new("RGBA", (32, 32), (0, 0, 0, 0))
    image.paste((255, 0, 0, 255), (16, 0, 32, 32))
    return image.quantize(8) if mode == "P" else image.convert(mode)


@pytest.mark.parametrize("mode", ["RGBA", "P", "LA"])
@pytest.mark.parametrize(("background", "expected"), [("white", (255, 255, 255)), ("#204060", (32, 64, 96))])
def test_what_is_transparent_is_put_on_the_stated_background(mode: str, background: str, expected: tuple) -> None:
    data, done = normalised(encoded(half_clear(mode)), 32, background)
    assert done == ["put_on_background"]
    assert pixel(data) == expected
    assert pixel(data, (31, 0)) != expected


def test_a_key_colour_is_transparent_as_well() -> None:
    data, _ = normalised(encoded(Image.new("RGB", (16, 16), (9, 9, 9)), transparency=(9, 9, 9)), 32)
    assert pixel(data) == (255, 255, 255)


def test_of_an_animation_the_first_frame_is_taken() -> None:
    frames = [Image.new("RGB", (16, 16), colour) for colour in ("red", "blue")]
    data, done = normalised(encoded(frames[0], "GIF", save_all=True, append_images=frames[1:]), 32)
    assert done == ["first_frame_taken"]
    assert pixel(data) == (255, 0, 0)


def test_a_picture_is_turned_as_its_exif_says_and_loses_its_metadata() -> None:
    image = Image.new("RGB", (40, 20), "blue")
    image.paste("red", (0, 0, 10, 10))
    exif = Image.Exif()
    exif[0x0112], exif[0x013B] = 6, "A. Photographer"
    data, done = normalised(encoded(image, "JPEG", exif=exif, quality=95), 64)
    assert done == ["turned_upright"]
    turned = Image.open(io.BytesIO(data))
    assert turned.size == (20, 40)
    red, _, blue = turned.getpixel((17, 2))
    assert red > 200 > blue
    assert b"Photographer" not in data


@pytest.mark.parametrize("note", ["PNG", "JPEG"])
def test_a_comment_in_a_picture_does_not_reach_the_catalog(note: str) -> None:
    from PIL.PngImagePlugin import PngInfo

    info = PngInfo()
    info.add_text("Author", "A. Photographer")
    said = {"pnginfo": info} if note == "PNG" else {"comment": b"A. Photographer"}
    before = encoded(drawn(1), note, **said)
    assert b"Photographer" in before
    assert b"Photographer" not in normalised(before, 64)[0]


def test_cmyk_and_16_bits_become_rgb_of_8() -> None:
    data, done = normalised(encoded(Image.new("CMYK", (16, 16), (0, 255, 255, 0)), "JPEG"), 32)
    red, green, _ = pixel(data)
    assert done == ["cmyk_to_rgb"]
    assert red > 200
    assert green < 60
    deep = Image.fromarray(np.full((16, 16), 32768, np.uint16))
    data, done = normalised(encoded(deep), 32)
    assert done == ["reduced_to_8_bits"]
    assert pixel(data) == (128, 128, 128)


def test_a_plain_picture_keeps_its_bytes_and_a_large_one_is_reduced() -> None:
    plain = encoded(drawn(1))
    assert normalised(plain, 32) == (plain, [])
    data, _ = normalised(encoded(drawn(1, 200).resize((400, 200)), "JPEG"), 64)
    assert Image.open(io.BytesIO(data)).size == (128, 64)


def huge() -> bytes:
    """A PNG of 100,000 x 100,000 pixels in under a hundred bytes."""
    header = struct.pack(">IIBBBBB", 100_000, 100_000, 8, 2, 0, 0, 0)
    chunks = ((b"IHDR", header), (b"IDAT", zlib.compress(b"\0")), (b"IEND", b""))
    packed = (struct.pack(">I", len(c)) + n + c + struct.pack(">I", zlib.crc32(n + c)) for n, c in chunks)
    return b"\x89PNG\r\n\x1a\n" + b"".join(packed)


def test_a_large_jpeg_is_decoded_at_a_fraction_of_its_size_and_looks_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    from expunge.corpus import pictures

    sizes: list[tuple[int, int]] = []

    def seen(image: Image.Image, background: str) -> Image.Image:
        sizes.append(image.size)
        return as_rgb(image, background)

    as_rgb = pictures.as_rgb
    monkeypatch.setattr(pictures, "as_rgb", seen)
    large = drawn(1, 40).resize((1600, 1200), Image.Resampling.BICUBIC)
    data, _ = normalised(encoded(large, "JPEG", quality=95), 64)
    assert sizes == [(400, 300)], "an eighth would be less than three times the 64 pixels wanted"
    found = Image.open(io.BytesIO(data))
    assert found.size == (85, 64)
    expected = np.asarray(large.resize((85, 64), Image.Resampling.BICUBIC), np.int16)
    assert np.abs(np.asarray(found, np.int16) - expected).mean() < 3
    normalised(encoded(large.resize((180, 150)), "JPEG"), 64)
    assert sizes[1] == (180, 150), "a picture that is not much larger is decoded whole"


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (huge(), "huge_picture"),
        (cut_off(corpus(1)[0]).picture, "unreadable_picture"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n", "unreadable_picture"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "unreadable_picture"),
    ],
    ids=["huge", "cut off", "EPS", "SVG"],
)
def test_a_picture_that_cannot_be_used_says_why(data: bytes, reason: str) -> None:
    with pytest.raises(Unusable) as caught:
        normalised(data, 64)
    assert caught.value.reason == reason


def table(folder: Path, *rows: dict[str, Any], good: int = 20) -> dict[str, Any]:
    """A table of good rows and then `rows`, with pictures beside it."""
    (folder / "pictures").mkdir(parents=True)
    for row in corpus(good):
        (folder / "pictures" / f"{row.name}.png").write_bytes(row.picture)
    lines = [{"id": r.name, "caption": r.caption, "path": f"{r.name}.png"} for r in corpus(good)]
    text = "".join(json.dumps(line) + "\n" for line in (*lines, *rows))
    (folder / "table.jsonl").write_bytes(text.encode("utf-8", "surrogateescape"))
    return {"source": "table", "data": str(folder / "table.jsonl"), "pictures": str(folder / "pictures")}


@pytest.mark.parametrize(
    ("row", "reason"),
    [
        ({"id": "p003"}, "duplicate_id"),
        ({"split": "somewhere"}, "unknown_split"),
        ({"caption": None}, "no_caption"),
        ({"caption": ""}, "no_caption"),
        ({"caption": "x" * 3000}, "caption_too_long"),
        ({"caption": "caf\udce9"}, "caption_not_utf8"),
        ({"path": "../table.jsonl"}, "path_escape"),
        ({"path": "/etc/passwd"}, "path_escape"),
        ({"path": "https://example.org/x.png"}, "path_escape"),
        ({"path": "gone.png"}, "missing_picture"),
        ({"path": None}, "no_picture"),
        ({"id": "a\nb" * 400}, "bad_row"),
        ({"class": {"a": 1}}, "bad_row"),
    ],
)
def test_a_row_that_cannot_be_used_says_why_and_where(tmp_path: Path, row: dict[str, Any], reason: str) -> None:
    said = table(tmp_path / "data", {"id": "new", "caption": "new", "path": "p000.png"} | row)
    built = build(tmp_path, params_of(said))
    assert quarantined(tmp_path) == {"table.jsonl:21": reason}
    assert len(built.catalog) == 20
    assert built.intake.reasons == {reason: 1}
    assert read_intake(tmp_path / "quarantine.parquet") == built.intake


def test_a_link_that_leads_out_of_the_folder_is_not_followed(tmp_path: Path) -> None:
    said = table(tmp_path / "data", {"id": "new", "caption": "new", "path": "link.png"})
    (tmp_path / "secret.png").write_bytes(corpus(99)[-1].picture)
    (tmp_path / "data" / "pictures" / "link.png").symlink_to(tmp_path / "secret.png")
    build(tmp_path, params_of(said))
    assert quarantined(tmp_path) == {"table.jsonl:21": "missing_picture"}


def test_captions_that_are_not_utf8_are_found_in_csv_and_arrow(tmp_path: Path) -> None:
    rows = corpus(24)
    said = folder_csv(tmp_path / "csv", rows)
    path = tmp_path / "csv" / "captions.csv"
    path.write_bytes(path.read_bytes().replace(b"bird number 5", b"caf\xe9"))
    build(tmp_path, params_of(said))
    assert list(quarantined(tmp_path).values()) == ["caption_not_utf8"]
    captions = pa.array([*(str(row.caption).encode() for row in rows[:-1]), b"caf\xe9"], pa.binary())
    texts = pa.Array.from_buffers(pa.string(), len(rows), captions.buffers())
    pictures = pa.array([row.picture for row in rows])
    pq.write_table(pa.table({"caption": texts, "image": pictures}), tmp_path / "odd.parquet")
    build(tmp_path / "two", params_of({"source": "table", "data": str(tmp_path / "odd.parquet")}))
    assert quarantined(tmp_path / "two") == {"odd.parquet:24": "caption_not_utf8"}


def test_an_archive_that_unpacks_to_far_more_is_left_at_that_place(tmp_path: Path) -> None:
    said = webdataset(tmp_path / "data", corpus(24))
    with tarfile.open(tmp_path / "data" / "bomb.tar.gz", "w:gz", compresslevel=9) as tar:
        member = tarfile.TarInfo("zeros.png")
        member.size = 300 << 20
        tar.addfile(member, Zeros(member.size))
    build(tmp_path, params_of(said | {"data": str(tmp_path / "data")}))
    assert quarantined(tmp_path) == {"bomb.tar.gz/zeros.png": "archive_bomb"}


class Zeros(io.RawIOBase):
    """A file of zeros."""

    def __init__(self, size: int) -> None:
        self.left = size

    def read(self, size: int = -1) -> bytes:
        given = min(size, self.left)
        self.left -= given
        return bytes(given)


def add_link(path: Path) -> None:
    with tarfile.open(path, "a") as tar:
        member = tarfile.TarInfo("link.png")
        member.type, member.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(member)


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-15000])


@pytest.mark.parametrize(("harm", "reason"), [(add_link, "path_escape"), (cut, "broken_archive")])
def test_a_tar_file_that_is_odd_keeps_what_is_good(tmp_path: Path, harm: Callable, reason: str) -> None:
    said = webdataset(tmp_path / "data", corpus(24))
    harm(tmp_path / "data" / "00001.tar")
    built = build(tmp_path, params_of(said, quarantine_limit=0.2))
    assert reason in quarantined(tmp_path).values()
    assert len(built.catalog) > 12


def test_more_than_the_limit_stops_the_build_and_leaves_the_table(tmp_path: Path) -> None:
    rows = [cut_off(row) if row.number < 6 else row for row in corpus(30)]
    said = folder_csv(tmp_path / "data", rows)
    with pytest.raises(ExpungeError, match=r"6 of 30 rows in quarantine \(6 unreadable picture\).*5\.0%"):
        build(tmp_path, params_of(said))
    assert set(quarantined(tmp_path).values()) == {"unreadable_picture"}
    assert len(build(tmp_path, params_of(said, quarantine_limit=0.2)).catalog) == 24


def test_a_kept_shard_keeps_its_quarantine(tmp_path: Path) -> None:
    params = params_of(folder_csv(tmp_path / "data", [*corpus(29), cut_off(corpus(30)[29])]))
    first = build(tmp_path, params)
    again = build(tmp_path, params)
    assert again.written == 0
    assert again.intake == first.intake == Intake(30, {"unreadable_picture": 1}, {})


def test_a_source_of_code_is_examined_like_any_other(tmp_path: Path) -> None:
    """None as class or caption, a split that nobody knows, an id twice: quarantine, and not an error of Arrow's."""

    def sample(number: int, **odd: Any) -> Sample:
        plain = {"sample_id": f"s:{number}", "class_": "c", "superclass": "d", "subject_id": None, "concept": "e"}
        plain |= {"variant": None, "split": None, "captions": (Caption("en", "one"),), "image": encoded(drawn(number))}
        return Sample(**plain | {"concept": f"e{number}"} | odd)

    odd = [
        sample(90, captions=(Caption("en", None),)),
        sample(91, split="val"),
        sample(0),
        sample(92, image=None),
        sample(93, class_=None),
    ]
    from expunge.corpus.build import Places, build_catalog
    from expunge.corpus.records import Mapper

    params = params_of({}, quarantine_limit=0.5)
    places = Places(tmp_path / "catalog", tmp_path / "quarantine.parquet", tmp_path / "state.json")
    source = Source("code", "1", "CC0-1.0", "nobody", [*(sample(number) for number in range(20)), *odd])
    built = build_catalog(places, lambda: source, params, Mapper(params), lambda _: None, "")
    expected = {"sample 21": "no_caption", "sample 22": "unknown_split", "sample 23": "duplicate_id"}
    assert quarantined(tmp_path) == expected | {"sample 24": "no_picture"}
    assert next(row["class"] for row in rows_of(built) if row["sample_id"] == "s:93") == "unlabelled"
